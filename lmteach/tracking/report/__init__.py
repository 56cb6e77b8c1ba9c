"""Reports: the facts of runs gathered from their folders, and the page or text that shows them."""
