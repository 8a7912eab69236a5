"""What routes do, without HTTP: JSON routes and HTML pages call the same methods."""
