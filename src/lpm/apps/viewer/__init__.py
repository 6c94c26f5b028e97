"""The viewer of `lpm view`: one page in the browser on which lungs are shaped, fitted, measured and downloaded."""
