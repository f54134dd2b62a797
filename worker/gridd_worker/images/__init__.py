"""The images that jobs run in: pulled or built, kept for a while, removed by size and age."""
