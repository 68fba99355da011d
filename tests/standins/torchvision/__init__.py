"""Stands in for torchvision, which this project does not install on processors: the names that transformers and vLLM import, and nothing behind them.

vLLM imports the image processors of Qwen3.5 and Gemma 3 even to serve text. A test that puts this folder's parent on PYTHONPATH can serve
text with them; whatever touches a picture fails.
"""

__version__ = "0.28.0"
