"""Which images of a study are analysed, decided by their attributes before a pixel is decoded."""
