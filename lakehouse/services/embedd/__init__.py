"""embedd: embeddings over HTTP, in the form of the former daemon and in OpenAI's."""
