"""Fits of what clients upload: their queue, the processes that they run in, and the job of a client."""
