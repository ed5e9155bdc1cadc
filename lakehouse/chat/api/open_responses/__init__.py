"""OpenAI's Responses at our door: `POST /v1/responses`, whole and streamed, without anything stored."""
