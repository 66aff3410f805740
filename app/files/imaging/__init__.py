"""Images as model servers take them: checked and converted by Pillow, in processes that can be killed."""
