"""The stage `segment`: left and right lung in a chest CT."""
