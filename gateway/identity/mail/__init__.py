"""Mail: letters made of templates, and the ways by which they leave."""
