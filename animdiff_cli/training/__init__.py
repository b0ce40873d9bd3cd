"""Footage in, training clips out; motion weights learned from them."""
