"""Code that protoc wrote from proto/: see proto/generate.py. Never edited."""
