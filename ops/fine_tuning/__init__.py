"""Fine-tuning by OpenAI's API: uploaded files, and jobs that are runs."""
