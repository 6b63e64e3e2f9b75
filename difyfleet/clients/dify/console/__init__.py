"""The console API: what a person does in Dify's pages."""
