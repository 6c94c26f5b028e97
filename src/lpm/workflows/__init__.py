"""From files to lungs: read the evidence, fit, keep what a report needs. The command line and the viewer call these."""
