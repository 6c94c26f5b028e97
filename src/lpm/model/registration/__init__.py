"""Correspondence between the training lungs: one average lung, and the displacement that takes each lung to it.

    f_i(x) = m(x + u_i(x))

A structure's average m is found group-wise: every lung is registered to a first template (the lung most like the
others), the lungs are averaged where they correspond, the mean displacement is taken out, and all of it again. Lungs
averaged where they correspond keep what all of them have: sharp recesses, the notch of the heart, the fissures'
grooves. Averaged as they lie, they lose it.

What is found of each lung is a file of its own, so that no process holds more than one lung, any number of workers can
share them out, and an interrupted run goes on where it was.
"""
