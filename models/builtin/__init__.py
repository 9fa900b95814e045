"""Small real models that come with Tilewright, each in a folder of its own with its card."""
