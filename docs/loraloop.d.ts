// Types of LoraLoop's HTTP APIs, made from their OpenAPI documents by `make docs`.
//
// `Operations` has each route: `query` and `body` are what it takes, `answer` is the JSON of a success.

export namespace gateway {
  type Chat = {
    /** The interaction; feedback names it. */
    id: string;
    object: "chat.completion";
    /** Unix time in seconds. */
    created: number;
    /** The version that answered, such as reviews@7. */
    model: string;
    choices: Array<{
      index: number;
      finish_reason: string | null;
      message?: {
        role: string;
        content?: string | Array<{
          type: string;
          [further: string]: unknown;
        }> | null;
        [further: string]: unknown;
      };
      [further: string]: unknown;
    }>;
    usage?: {
      prompt_tokens?: number;
      completion_tokens?: number | null;
      total_tokens?: number;
      [further: string]: unknown;
    };
    [further: string]: unknown;
  };
  type ChatRequest = {
    /** A public model, as GET /v1/models lists them. */
    model: string;
    /** The end user; stays with one version while a canary runs. */
    user?: string | null;
    /** Used if `user` is missing. */
    safety_identifier?: string | null;
    /** Kept with the interaction. */
    metadata?: {
      /** The conversation that feedback may name. */
      conversation_id?: string | null;
      [further: string]: unknown;
    } | null;
    /** True: kept for GET /v1/chat/completions. False: only counts and times are kept. */
    store?: boolean | null;
    /** Answer in server-sent events. */
    stream?: boolean | null;
    stream_options?: {
      /** Send token counts as the last event. */
      include_usage?: boolean | null;
      [further: string]: unknown;
    } | null;
    /** Longest answer, in tokens. */
    max_tokens?: number | null;
    messages: Array<{
      role: string;
      content?: string | Array<{
        type: string;
        [further: string]: unknown;
      }> | null;
      [further: string]: unknown;
    }>;
    [further: string]: unknown;
  };
  type Completion = {
    /** The interaction; feedback names it. */
    id: string;
    object: "text_completion";
    /** Unix time in seconds. */
    created: number;
    /** The version that answered, such as reviews@7. */
    model: string;
    choices: Array<{
      index: number;
      finish_reason: string | null;
      text?: string;
      [further: string]: unknown;
    }>;
    usage?: {
      prompt_tokens?: number;
      completion_tokens?: number | null;
      total_tokens?: number;
      [further: string]: unknown;
    };
    [further: string]: unknown;
  };
  type CompletionRequest = {
    /** A public model, as GET /v1/models lists them. */
    model: string;
    /** The end user; stays with one version while a canary runs. */
    user?: string | null;
    /** Used if `user` is missing. */
    safety_identifier?: string | null;
    /** Kept with the interaction. */
    metadata?: {
      /** The conversation that feedback may name. */
      conversation_id?: string | null;
      [further: string]: unknown;
    } | null;
    /** True: kept for GET /v1/chat/completions. False: only counts and times are kept. */
    store?: boolean | null;
    /** Answer in server-sent events. */
    stream?: boolean | null;
    stream_options?: {
      /** Send token counts as the last event. */
      include_usage?: boolean | null;
      [further: string]: unknown;
    } | null;
    /** Longest answer, in tokens. */
    max_tokens?: number | null;
    /** Text, or token ids; several at once in a list. */
    prompt: string | Array<string> | Array<number> | Array<Array<number>>;
    [further: string]: unknown;
  };
  type Count = {
    input_tokens: number;
    [further: string]: unknown;
  };
  type CountRequest = {
    /** A public model, as GET /v1/models lists them. */
    model: string;
    messages: Array<{
      role: "user" | "assistant" | "system";
      content: string | Array<{
        type: string;
        [further: string]: unknown;
      }>;
      [further: string]: unknown;
    }>;
    system?: string | Array<{
      type: string;
      [further: string]: unknown;
    }> | null;
    /** Tools with a name and an input_schema. */
    tools?: Array<unknown> | null;
    [further: string]: unknown;
  };
  type Deleted = {
    id: string;
    object: "chat.completion.deleted";
    deleted: true;
    [further: string]: unknown;
  };
  type DeletedResponse = {
    id: string;
    object: "response";
    deleted: true;
    [further: string]: unknown;
  };
  type DetokenizeRequest = {
    /** A public model. */
    model?: string;
    tokens?: Array<number>;
    [further: string]: unknown;
  };
  type Embeddings = {
    object: "list";
    model: string;
    data: Array<{
      index: number;
      embedding: Array<number> | string;
      [further: string]: unknown;
    }>;
    usage?: {
      prompt_tokens?: number;
      total_tokens?: number;
      [further: string]: unknown;
    };
    [further: string]: unknown;
  };
  type EmbeddingsRequest = {
    /** The model for this purpose. It may be left out: there is one. */
    model?: string;
    /** A text or its token ids; several at once in a list. */
    input: string | Array<string> | Array<number> | Array<Array<number>>;
    /** Length of each embedding, where the model allows a choice. */
    dimensions?: number | null;
    /** `float` or `base64`. */
    encoding_format?: string;
    /** The end user. */
    user?: string | null;
    [further: string]: unknown;
  };
  type Error = {
    error: {
      message: string;
      type: string;
      param: string | null;
      code: string | number | null;
      [further: string]: unknown;
    };
    [further: string]: unknown;
  };
  type Message = {
    /** The interaction; feedback names it. */
    id: string;
    type: "message";
    role: "assistant";
    /** The version that answered, such as reviews@7. */
    model: string;
    content: Array<{
      type: string;
      [further: string]: unknown;
    }>;
    stop_reason: "end_turn" | "max_tokens" | "stop_sequence" | "tool_use";
    stop_sequence?: string | null;
    usage: {
      input_tokens: number;
      output_tokens: number;
      [further: string]: unknown;
    };
    [further: string]: unknown;
  };
  type MessagesError = {
    type: "error";
    error: {
      type: string;
      message: string;
      [further: string]: unknown;
    };
    request_id?: string;
    [further: string]: unknown;
  };
  type MessagesRequest = {
    /** A public model, as GET /v1/models lists them. */
    model: string;
    messages: Array<{
      role: "user" | "assistant" | "system";
      content: string | Array<{
        type: string;
        [further: string]: unknown;
      }>;
      [further: string]: unknown;
    }>;
    system?: string | Array<{
      type: string;
      [further: string]: unknown;
    }> | null;
    /** Tools with a name and an input_schema. */
    tools?: Array<unknown> | null;
    /** Longest answer, in tokens. */
    max_tokens: number;
    /** Texts that end the answer. */
    stop_sequences?: Array<unknown> | null;
    /** Answer in server-sent events. */
    stream?: boolean | null;
    metadata?: {
      /** The end user; stays with one version while a canary runs. */
      user_id?: string | null;
      /** The conversation that feedback may name. */
      conversation_id?: string | null;
      [further: string]: unknown;
    } | null;
    [further: string]: unknown;
  };
  type Metadata = {
    metadata: Record<string, string> | null;
  };
  type Model = {
    id: string;
    object: "model";
    created: number;
    owned_by: string;
    /** The adapter version in service; absent on models for embeddings or ranks. */
    version?: number;
    [further: string]: unknown;
  };
  type Models = {
    object: "list";
    data: Array<Model>;
    [further: string]: unknown;
  };
  type Ranks = {
    id?: string;
    model: string;
    results: Array<{
      /** The place of the document in the request. */
      index: number;
      relevance_score: number;
      [further: string]: unknown;
    }>;
    usage?: {
      prompt_tokens?: number;
      total_tokens?: number;
      [further: string]: unknown;
    };
    [further: string]: unknown;
  };
  type RerankRequest = {
    /** The model for this purpose. It may be left out: there is one. */
    model?: string;
    /** The question. */
    query: string;
    documents: Array<string>;
    /** How many of the best are returned. 0: all. */
    top_n?: number;
    [further: string]: unknown;
  };
  type Response = {
    /** The interaction; feedback names it. */
    id: string;
    object: "response";
    /** Unix time in seconds. */
    created_at: number;
    status: "completed" | "incomplete" | "failed" | "in_progress";
    /** The version that answered, such as reviews@7. */
    model: string;
    output: Array<ResponseItem>;
    usage: Record<string, unknown> | null;
    [further: string]: unknown;
  };
  type ResponseItem = {
    type: string;
    [further: string]: unknown;
  };
  type ResponseItems = {
    object: "list";
    data: Array<ResponseItem>;
    has_more: boolean;
    first_id: string | null;
    last_id: string | null;
    [further: string]: unknown;
  };
  type ResponsesRequest = {
    /** A public model, as GET /v1/models lists them. */
    model: string;
    input: string | Array<Record<string, unknown>>;
    /** The system prompt, of this request alone. */
    instructions?: string | null;
    /** A stored response that this one continues. */
    previous_response_id?: string | null;
    /** Longest answer, in tokens. */
    max_output_tokens?: number | null;
    /** False: only counts and times are kept, and the response cannot be found. */
    store?: boolean | null;
    /** Answer in server-sent events. */
    stream?: boolean | null;
    /** `format`: text, json_object or json_schema. */
    text?: Record<string, unknown> | null;
    /** Tools of the type function. */
    tools?: Array<unknown> | null;
    /** The end user; stays with one version while a canary runs. */
    user?: string | null;
    metadata?: {
      /** The conversation that feedback may name. */
      conversation_id?: string | null;
      [further: string]: unknown;
    } | null;
    [further: string]: unknown;
  };
  type Result = Taken | Error;
  type Signal = {
    id?: string | null;
    interaction_id?: string | null;
    conversation_id?: string | null;
    choice?: number | null;
    type: "thumbs" | "rating" | "label" | "correction" | "preference" | "comment" | "flag";
    value?: unknown;
    comment?: string | null;
    user?: string | null;
    metadata?: Record<string, string>;
  };
  type Stored = {
    /** The interaction; feedback names it. */
    id: string;
    object: "chat.completion";
    /** Unix time in seconds. */
    created: number;
    /** The version that answered, such as reviews@7. */
    model: string;
    choices: Array<{
      index: number;
      finish_reason: string | null;
      message?: {
        role: string;
        content?: string | Array<{
          type: string;
          [further: string]: unknown;
        }> | null;
        [further: string]: unknown;
      };
      [further: string]: unknown;
    }>;
    usage?: {
      prompt_tokens?: number;
      completion_tokens?: number | null;
      total_tokens?: number;
      [further: string]: unknown;
    };
    [further: string]: unknown;
  };
  type StoredMessage = {
    role: string;
    content?: string | Array<{
      type: string;
      [further: string]: unknown;
    }> | null;
    [further: string]: unknown;
  };
  type StoredMessages = {
    object: "list";
    data: Array<StoredMessage>;
    has_more: boolean;
    first_id: string | null;
    last_id: string | null;
    [further: string]: unknown;
  };
  type StoredPage = {
    object: "list";
    data: Array<Stored>;
    has_more: boolean;
    first_id: string | null;
    last_id: string | null;
    [further: string]: unknown;
  };
  type Taken = {
    /** Takes it back with DELETE. */
    feedback_id: string;
    [further: string]: unknown;
  };
  type TokenizeRequest = {
    /** A public model. */
    model: string;
    /** A text. */
    prompt?: string;
    messages?: Array<{
      role: string;
      [further: string]: unknown;
    }>;
    [further: string]: unknown;
  };
  type Tokens = {
    count: number;
    tokens: Array<number>;
    [further: string]: unknown;
  };
  type TokensText = {
    /** The text of the tokens. */
    prompt: string;
    [further: string]: unknown;
  };
  interface Operations {
    /** The text of tokens */
    "POST /detokenize": { body: DetokenizeRequest; answer: TokensText };
    /** Rank documents by a question */
    "POST /rerank": { body: RerankRequest; answer: Ranks };
    /** The tokens of a text or chat */
    "POST /tokenize": { body: TokenizeRequest; answer: Tokens };
    /** Answer a chat */
    "POST /v1/chat/completions": { body: ChatRequest; answer: Chat };
    /** List the stored completions */
    "GET /v1/chat/completions": { query: {
      limit?: number;
      after?: string;
      order?: "asc" | "desc";
      model?: string;
    }; answer: StoredPage };
    /** One stored completion */
    "GET /v1/chat/completions/{completion_id}": { answer: Stored };
    /** Change a stored completion's metadata */
    "POST /v1/chat/completions/{completion_id}": { body: Metadata; answer: Stored };
    /** Delete a stored completion */
    "DELETE /v1/chat/completions/{completion_id}": { answer: Deleted };
    /** The messages that it answers */
    "GET /v1/chat/completions/{completion_id}/messages": { query: {
      limit?: number;
      after?: string;
      order?: "asc" | "desc";
    }; answer: StoredMessages };
    /** Complete a text */
    "POST /v1/completions": { body: CompletionRequest; answer: Completion };
    /** Embed texts */
    "POST /v1/embeddings": { body: EmbeddingsRequest; answer: Embeddings };
    /** Give feedback */
    "POST /v1/feedback": { body: Signal | Array<Signal>; answer: Taken | Array<Taken> | Array<Result> };
    /** Take back what a user said about an interaction */
    "DELETE /v1/feedback": { body: {
      interaction_id: string;
      user: string;
      [further: string]: unknown;
    }; answer: {
      /** The interaction. */
      interaction_id: string;
      [further: string]: unknown;
    } };
    /** Take feedback back */
    "DELETE /v1/feedback/{feedback_id}": { answer: Taken };
    /** Answer a chat, in the format of Anthropic's Messages API */
    "POST /v1/messages": { body: MessagesRequest; answer: Message };
    /** Count the tokens of a request of the Messages API */
    "POST /v1/messages/count_tokens": { body: CountRequest; answer: Count };
    /** List the models */
    "GET /v1/models": { answer: Models };
    /** One model */
    "GET /v1/models/{model}": { answer: Model };
    /** Rank documents by a question */
    "POST /v1/rerank": { body: RerankRequest; answer: Ranks };
    /** Answer in the format of OpenAI's Responses API */
    "POST /v1/responses": { body: ResponsesRequest; answer: Response };
    /** One stored response */
    "GET /v1/responses/{response_id}": { answer: Response };
    /** Delete a stored response */
    "DELETE /v1/responses/{response_id}": { answer: DeletedResponse };
    /** Refuse to cancel: no response is in the background */
    "POST /v1/responses/{response_id}/cancel": { answer: Response };
    /** The items that a response answers */
    "GET /v1/responses/{response_id}/input_items": { query: {
      limit?: number;
      after?: string;
      order?: "asc" | "desc";
    }; answer: ResponseItems };
    /** Rank documents by a question */
    "POST /v2/rerank": { body: RerankRequest; answer: Ranks };
  }
}

export namespace control {
  type ChangeCanary = {
    actor?: string;
    comment?: string;
    version?: number | null;
  };
  type Dpo = {
    hyperparameters?: DpoHyperparameters;
  };
  type DpoHyperparameters = {
    n_epochs?: "auto" | number;
    batch_size?: "auto" | number;
    learning_rate_multiplier?: "auto" | number;
    beta?: "auto" | number;
  };
  type Error = {
    error: {
      /** What is wrong, and the fix. */
      message: string;
      type: string;
      /** The field at fault. */
      param: string | null;
      code: string | null;
    };
  };
  type Format = "parquet" | "openai" | "pairs" | "preferences";
  type Hold = {
    actor?: string;
    comment?: string;
    model?: string | null;
    key?: string | null;
    user?: string | null;
    from?: string | null;
    until?: string | null;
  };
  type Hyperparameters = {
    n_epochs?: "auto" | number;
    batch_size?: "auto" | number;
    learning_rate_multiplier?: "auto" | number;
  };
  type JobRequest = {
    /** The model whose next version is trained. */
    model: string;
    /** The id of an uploaded file. */
    training_file: string;
    method?: TrainingMethod | null;
    /** Of supervised fine-tuning; `method` is newer. */
    hyperparameters?: Hyperparameters | null;
    seed?: number | null;
    /** A note of the run. The version's name has none. */
    suffix?: string | null;
    metadata?: Record<string, string> | null;
    /** Not taken: LoraLoop holds users out of the training itself. */
    validation_file?: null;
    /** Not taken. */
    integrations?: Array<unknown> | null;
  };
  type Kind = "feedback" | "interactions" | "decisions";
  type Letters = {
    actor?: string;
    comment?: string;
    id?: string | null;
  };
  type Make = {
    name: string;
    scopes: Array<"infer" | "feedback" | "metrics" | "ops:numbers" | "ops:read" | "ops:write" | "admin">;
    models?: Array<string> | null;
    expires_in_s?: number | null;
    requests_per_minute?: number | null;
    tokens_per_minute?: number | null;
    concurrent?: number | null;
  };
  type Measure = {
    actor?: string;
    comment?: string;
    version?: number | null;
    suites?: Array<string>;
  };
  type ModelChange = {
    dry_run?: boolean;
    model: string;
    verdict: string;
    from_version: number | null;
    to_version: number | null;
    reason: string;
    decision_id?: string | null;
    seq?: number | null;
    actor?: string | null;
    comment?: string;
    serves: Serving;
    quarantine?: Record<string, unknown> | null;
    gateways?: number | null;
    in_flight?: number | null;
    ms?: number | null;
    complete?: boolean | null;
  };
  type Promote = {
    actor?: string;
    comment?: string;
    version: number;
  };
  type Reject = {
    actor?: string;
    comment: string;
    keep_data?: boolean;
  };
  type RollBack = {
    actor?: string;
    comment?: string;
    to?: number | null;
    keep_data?: boolean;
  };
  type Rotate = {
    grace_s?: number;
  };
  type Said = {
    actor?: string;
    comment?: string;
  };
  type Serving = {
    champion: number;
    canary: number | null;
    share: number | null;
    paused: boolean;
    holdback: number | null;
    frozen: boolean;
  };
  type SetShare = {
    actor?: string;
    comment?: string;
    version?: number | null;
    share: number;
  };
  type SilenceAlarm = {
    actor?: string;
    comment?: string;
    name: "engine_down" | "gateway_missing" | "gateway_outdated" | "spool_lag" | "interactions_dropped" | "dead_letters" | "disk_low" | "backup_failed" | "backup_overdue" | "ledger_broken" | "audit_log_broken" | "audit_log_failing" | "canary_stuck" | "runs_failed" | "target_refusing";
    subject?: string | null;
    hours: number;
  };
  type StopCanary = {
    actor?: string;
    comment?: string;
    version?: number | null;
    keep_data?: boolean;
  };
  type Supervised = {
    hyperparameters?: Hyperparameters;
  };
  type TrainingMethod = {
    type?: "supervised" | "dpo";
    supervised?: Supervised | null;
    dpo?: Dpo | null;
  };
  type Verdict = "promoted" | "kept" | "rolled_back" | "inconclusive" | "awaiting_approval" | "rejected" | "skipped" | "failed" | "canary_started" | "switched" | "imported" | "confirmed" | "withdrawn" | "released" | "discarded" | "quarantined" | "restored" | "erased" | "cancelled" | "canary_paused" | "canary_resumed" | "share_changed" | "frozen" | "unfrozen";
  type Whom = {
    actor?: string;
    comment?: string;
    user: string;
    key?: string | null;
  };
  interface Operations {
    /** Alarms that are pending, open or about to end, critical ones first; with a model, those about it alone. */
    "GET /api/alarms": { query: {
      model?: string | null;
    }; answer: Array<Record<string, unknown>> };
    /** Send no message about an alarm for some hours. If it is still open then, its message is sent. */
    "POST /api/alarms/silence": { body: SilenceAlarm; answer: Record<string, unknown> };
    /** Rows of the audit log, newest first. `act` is an act or the first word of several, such as `keys`. */
    "GET /api/audit": { query: {
      limit?: number;
      act?: string | null;
      actor?: string | null;
      model?: string | null;
      outcome?: string | null;
      since?: string | null;
      until?: string | null;
      before?: number | null;
    }; answer: Array<Record<string, unknown>> };
    /** Whether every row of the audit log follows from the one before, and whether the log can be written. */
    "GET /api/audit/chain": { query: {
      whole?: boolean;
    }; answer: Record<string, unknown> };
    /** Make a backup and send it, a tar file whose first entry is its manifest. */
    "POST /api/backup": { answer: unknown };
    /** The number of dead letters, and the newest of them with their reasons. */
    "GET /api/dead-letters": { query: {
      limit?: number;
    }; answer: Record<string, unknown> };
    /** Delete one dead letter or all of them. */
    "POST /api/dead-letters/drop": { body: Letters; answer: Array<Record<string, unknown>> };
    /** Ingest one dead letter or all of them again. Records that are stored already add nothing. */
    "POST /api/dead-letters/replay": { body: Letters; answer: Array<Record<string, unknown>> };
    /** One dead letter with its content. */
    "GET /api/dead-letters/{identity}": { answer: Record<string, unknown> };
    /** Erasures with their receipts, newest first. */
    "GET /api/erasures": { query: {
      limit?: number;
    }; answer: Array<Record<string, unknown>> };
    /** Erase a user. It goes on after the response, until the state is `done`. */
    "POST /api/erasures": { body: Whom; answer: Record<string, unknown> };
    /** What the erasure of a user would erase. */
    "POST /api/erasures/preview": { body: Whom; answer: Record<string, unknown> };
    /** One erasure with its receipt. */
    "GET /api/erasures/{identity}": { answer: Record<string, unknown> };
    /** All `feedback`, of one key where it is named, `interactions` or `decisions`, a JSON object per line. */
    "GET /api/export/{kind}": { query: {
      model?: string | null;
      key?: string | null;
      hidden_labels?: boolean;
    }; answer: unknown };
    /** Counts of feedback by model and type, of one key, by key, or by voter: the 1,000 with most votes. */
    "GET /api/feedback": { query: {
      model?: string | null;
      key?: string | null;
      by_key?: boolean;
      by_user?: boolean;
    }; answer: Array<Record<string, unknown>> };
    /** How far reviewers of a model agree, per pair and in all, and the answers on which they disagree. */
    "GET /api/feedback/agreement": { query: {
      model: string;
    }; answer: Record<string, unknown> };
    /** Take feedback in with its own times: a list of feedback with `id`, and `time`, `revoked_at` if known. */
    "POST /api/feedback/import": { answer: Record<string, number> };
    /** Feedback without its interaction, by key and type, and requests to take back feedback that is not there. */
    "GET /api/feedback/waiting": { answer: Record<string, unknown> };
    /** What rows are read by: the labels of each model, and the meanings of metrics by their names. */
    "GET /api/import": { answer: Record<string, unknown> };
    /** Take interactions and feedback in: a list of records as gateways write them. Names those that it refuses. */
    "POST /api/import": { answer: Record<string, unknown> };
    /** All keys, without their secrets. */
    "GET /api/keys": { answer: Array<Record<string, unknown>> };
    /** Make a key; the answer holds its secret, this once. */
    "POST /api/keys": { body: Make; answer: unknown };
    /** End a key permanently. */
    "POST /api/keys/{identity}/revoke": { answer: Record<string, unknown> };
    /** Give a key a new secret; the answer holds it, this once. */
    "POST /api/keys/{identity}/rotate": { body: Rotate; answer: unknown };
    /** Whether the ledger is whole, and a head that was once sent out is in it. */
    "GET /api/ledger": { query: {
      head?: string | null;
    }; answer: Record<string, unknown> };
    /** Every model that the key may use, or one, with what serves it. */
    "GET /api/models": { query: {
      model?: string | null;
    }; answer: Array<Record<string, unknown>> };
    /** Take an adapter in, from an archive as `application/octet-stream`. */
    "POST /api/models/{model}/adapters": { query: {
      actor?: string;
      comment?: string;
    }; answer: unknown };
    /** Have the champion serve everyone until the canary is resumed. */
    "POST /api/models/{model}/canary/pause": { body: ChangeCanary; answer: ModelChange };
    /** Serve a paused canary again. Its count of users begins from zero. */
    "POST /api/models/{model}/canary/resume": { body: ChangeCanary; answer: ModelChange };
    /** Serve a canary to another share of users. Its count of users begins from zero. */
    "POST /api/models/{model}/canary/share": { body: SetShare; answer: ModelChange };
    /** Stop the canary of a model. The champion serves everyone again. */
    "POST /api/models/{model}/canary/stop": { body: StopCanary; answer: ModelChange };
    /** Run suites on a version, base and champion, as a run. It decides nothing. */
    "POST /api/models/{model}/evaluate": { body: Measure; answer: Record<string, unknown> };
    /** Let no candidate of a model get users or become champion automatically. */
    "POST /api/models/{model}/freeze": { body: Said; answer: ModelChange };
    /** Put a version in service past the gate. */
    "POST /api/models/{model}/promote": { body: Promote; answer: ModelChange };
    /** Queue a run. */
    "POST /api/models/{model}/retrain": { body: Said; answer: Record<string, unknown> };
    /** Put an earlier version back, by default the one before; votes against the other may be quarantined. */
    "POST /api/models/{model}/rollback": { body: RollBack; answer: ModelChange };
    /** What served a model when, newest first. */
    "GET /api/models/{model}/routes": { answer: Array<Record<string, unknown>> };
    /** End the freeze of a model. */
    "POST /api/models/{model}/unfreeze": { body: Said; answer: ModelChange };
    /** A model's versions, each with the votes that it learnt from which are revoked or in quarantine now. */
    "GET /api/models/{model}/versions": { answer: Array<Record<string, unknown>> };
    /** One version, with the first 1,000 of these votes, and the erasures of users that it learnt from. */
    "GET /api/models/{model}/versions/{version}": { answer: Record<string, unknown> };
    /** Whose votes a rollback or rejection of a version would hold, and why. `held`: how many voters and keys. */
    "GET /api/models/{model}/versions/{version}/suspects": { answer: Record<string, unknown> };
    /** List how far each target has received the ledger. */
    "GET /api/notifications": { answer: Array<Record<string, unknown>> };
    /** Send every target a test. */
    "POST /api/notifications/test": { answer: Array<Record<string, unknown>> };
    /** Decisions of the ledger, newest first; `since` and `until` are days or times, UTC where they say no zone. */
    "GET /api/promotions": { query: {
      model?: string | null;
      verdict?: Verdict | null;
      since?: string | null;
      until?: string | null;
      limit?: number;
    }; answer: Array<Record<string, unknown>> };
    /** One decision with all that the ledger holds of it. */
    "GET /api/promotions/{identity}": { answer: Record<string, unknown> };
    /** Let the candidate that waits go on. */
    "POST /api/promotions/{identity}/approve": { body: Said; answer: ModelChange };
    /** Reject the candidate that waits for approval. */
    "POST /api/promotions/{identity}/reject": { body: Reject; answer: ModelChange };
    /** Quarantines with how many votes of how many users are in each. */
    "GET /api/quarantine": { query: {
      model?: string | null;
    }; answer: Array<Record<string, unknown>> };
    /** Put the votes of a key, a user or a time in quarantine, later ones too: one quarantine per model. */
    "POST /api/quarantine": { body: Hold; answer: Array<Record<string, unknown>> };
    /** What holding these votes would hold on each model: votes, those not held already, voters. */
    "GET /api/quarantine/preview": { query: {
      model?: string | null;
      key?: string | null;
      user?: string | null;
      from?: string | null;
      until?: string | null;
    }; answer: Array<Record<string, unknown>> };
    /** One quarantine with its votes. */
    "GET /api/quarantine/{identity}": { query: {
      limit?: number;
    }; answer: Record<string, unknown> };
    /** Leave the data of a quarantine out permanently. */
    "POST /api/quarantine/{identity}/reject": { body: Said; answer: Record<string, unknown> };
    /** Let the data of a quarantine be learnt from. */
    "POST /api/quarantine/{identity}/release": { body: Said; answer: Record<string, unknown> };
    /** Read the configuration again; says what took effect and what needs a restart. */
    "POST /api/reload": { answer: Record<string, unknown> };
    /** What there is of each kind, and what would be deleted now. */
    "GET /api/retention": { answer: Record<string, unknown> };
    /** Delete what is older than the settings. It goes on after the response, until the state is `done`. */
    "POST /api/retention/runs": { body: Said; answer: Record<string, unknown> };
    /** Deletions, newest first. */
    "GET /api/retention/runs": { query: {
      limit?: number;
    }; answer: Array<Record<string, unknown>> };
    /** One deletion with what it deleted. */
    "GET /api/retention/runs/{identity}": { answer: Record<string, unknown> };
    /** Runs with their progress, newest first. */
    "GET /api/runs": { query: {
      model?: string | null;
      limit?: number;
    }; answer: Array<Record<string, unknown>> };
    /** One run with every step, each trial of its search, and each KPI by arm. */
    "GET /api/runs/{identity}": { answer: Record<string, unknown> };
    /** End a run that is queued, paused or in progress. The champion stays. */
    "POST /api/runs/{identity}/cancel": { body: Said; answer: Record<string, unknown> };
    /** Pause a run. A training ends after its step, with a checkpoint. */
    "POST /api/runs/{identity}/pause": { body: Said; answer: Record<string, unknown> };
    /** Continue a paused run at its last checkpoint. */
    "POST /api/runs/{identity}/resume": { body: Said; answer: Record<string, unknown> };
    /** The report of a snapshot, by a run's id, the beginning of its hash, or a model: its newest. */
    "GET /api/snapshots/{identity}": { answer: Record<string, unknown> };
    /** The rows or the pairs of a snapshot. Parquet has all of them, a fine-tuning file those of one bucket. */
    "GET /api/snapshots/{identity}/rows": { query: {
      format?: Format;
      bucket?: "train" | "dev" | "h1" | "h2" | "h3" | "h4";
      hidden_labels?: boolean;
    }; answer: unknown };
    /** Requests, errors, tokens and cost per `day` or `month` in UTC, split by `model` or `key`. */
    "GET /api/usage": { query: {
      by?: "day" | "month";
      split?: "model" | "key";
      model?: string | null;
      key?: string | null;
      since?: string | null;
      until?: string | null;
    }; answer: Record<string, unknown> };
    /** That the process answers. */
    "GET /health": { answer: Record<string, string> };
    /** Metrics for Prometheus. */
    "GET /metrics": { answer: unknown };
    /** Whether engines are ready; with a key of `ops:numbers`, each engine and what it lacks. */
    "GET /ready": { answer: unknown };
    /** Uploaded files, newest first. */
    "GET /v1/files": { query: {
      /** The model that the file is for. A key limited to models must name one. */
      model?: string | null;
      purpose?: string | null;
      after?: string | null;
      limit?: number;
      order?: "asc" | "desc";
    }; answer: Record<string, unknown> };
    /** Keep a file for fine-tuning. Each line is checked. */
    "POST /v1/files": { query: {
      /** The model that the file is for. A key limited to models must name one. */
      model?: string | null;
    }; answer: Record<string, unknown> };
    /** One file, without its content. */
    "GET /v1/files/{identity}": { answer: Record<string, unknown> };
    /** Delete a file. Examples that a job has imported stay as feedback. */
    "DELETE /v1/files/{identity}": { answer: Record<string, unknown> };
    /** The content of a file, as it was uploaded. */
    "GET /v1/files/{identity}/content": { answer: unknown };
    /** Fine-tuning jobs, newest first. */
    "GET /v1/fine_tuning/jobs": { query: {
      /** The model of the jobs. A key limited to models must name one. */
      model?: string | null;
      after?: string | null;
      limit?: number;
    }; answer: Record<string, unknown> };
    /** Add a fine-tuning job: a run of a model, with the examples of a file as feedback. */
    "POST /v1/fine_tuning/jobs": { query: {
      /** The model of the jobs. A key limited to models must name one. */
      model?: string | null;
    }; body: JobRequest; answer: Record<string, unknown> };
    /** One fine-tuning job. */
    "GET /v1/fine_tuning/jobs/{identity}": { answer: Record<string, unknown> };
    /** End a job. The champion of its model stays. */
    "POST /v1/fine_tuning/jobs/{identity}/cancel": { answer: Record<string, unknown> };
    /** The checkpoint that a job keeps, which is its version. */
    "GET /v1/fine_tuning/jobs/{identity}/checkpoints": { query: {
      after?: string | null;
      limit?: number;
    }; answer: Record<string, unknown> };
    /** What happened to a job, newest first. */
    "GET /v1/fine_tuning/jobs/{identity}/events": { query: {
      after?: string | null;
      limit?: number;
    }; answer: Record<string, unknown> };
    /** Pause a job. Its training ends after its step, with a checkpoint. */
    "POST /v1/fine_tuning/jobs/{identity}/pause": { answer: Record<string, unknown> };
    /** Continue a paused job at its last checkpoint. */
    "POST /v1/fine_tuning/jobs/{identity}/resume": { answer: Record<string, unknown> };
  }
}
