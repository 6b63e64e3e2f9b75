"""What is inside Dify (admin, models, knowledge bases, assistants): what is declared compared with what is there, and the steps between.

Between the typed client, which knows nothing of difyfleet, and the operations, which know nothing of Dify's API.
"""
