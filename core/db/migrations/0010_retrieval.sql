-- What a version is: an adapter, or a retrieval, whose folder holds what is shown before a question. One without a
-- path is the bare base model.
ALTER TABLE versions ADD COLUMN kind VARCHAR DEFAULT 'adapter';
