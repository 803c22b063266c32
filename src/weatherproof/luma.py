"""How bright a colour is: .299 R + .587 G + .114 B."""

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: of the benchmark's RGB2GRAY, JPEG, TIFF's YCbCr and Pillow's convert("L")
