-- Kind of a version: an adapter, or a retrieval, whose folder has the texts that are added before a question. A version
-- without a path is the bare base model.
ALTER TABLE versions ADD COLUMN kind VARCHAR DEFAULT 'adapter';
