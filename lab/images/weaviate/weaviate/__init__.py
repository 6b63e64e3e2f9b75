"""Stand-in for Weaviate 1.19.0: the settings of the environment are checked, keys are enforced, the data folder is used.

Readiness and liveness need no key; everything else does, as with ``AUTHENTICATION_APIKEY_ENABLED=true`` and anonymous access
off. Schema (class definitions) and objects are kept in ``PERSISTENCE_DATA_PATH``. Of the interface it has what Dify uses: classes,
batches of objects with their vectors, deletion by a filter, and GraphQL's ``Get`` with ``nearVector`` or ``bm25``.
"""

VERSION = "1.19.0"
