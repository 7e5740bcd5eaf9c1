"""Parts of ``gpu.py``: what is measured, on what data, and against which floors."""
