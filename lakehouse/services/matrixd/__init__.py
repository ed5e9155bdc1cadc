"""matrixd: search over many corpora, playbooks, passages for a prompt, relevance and downgrade.

POST /matrix/search            one answer from several indexes (`search`)
POST /matrix/context           the same as numbered passages with their sources (`context`)
GET  /matrix/corpora           the indexes
POST /matrix/playbooks/record  what answered a question, and how well (`playbooks`)
POST /matrix/playbooks/bulk
POST /matrix/relevance         which chunks belong to a file (`relevance`)
POST /matrix/downgrade         whether a strong model is spared the context (`downgrade`)
"""
