"""What every command does with a photograph: find faces, reconstruct them, say how well they fit."""
