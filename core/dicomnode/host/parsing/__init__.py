"""What a received data set says: structure, index, layouts, encodings, file meta information."""
