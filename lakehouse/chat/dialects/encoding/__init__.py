"""Shared parts of request encoding: the body, parameters, conversation, tools, images, files and thinking."""
