"""What stands in the viewer's 3D scene: meshes of shape parameters, their colours, slices of a scan."""
