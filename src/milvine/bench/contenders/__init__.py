"""What can be measured. Each file works alone under any interpreter with numpy and its own
library.
"""
