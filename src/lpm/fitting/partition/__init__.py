"""Parts of structures, such as lobes: learned from label maps, carried to fitted lungs."""
