"""difyfleet: a private LLM service (Docker, Ollama, Open WebUI, Dify) on machines of one's own, declared and kept."""

__version__ = "0.1.0"
