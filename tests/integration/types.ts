// Uses docs/loraloop.d.ts as an app would; test_node.py has the compiler check it.
import type { control, gateway } from "./loraloop";

const question: gateway.ChatRequest = { model: "reviews", messages: [{ role: "user", content: "So good." }], top_k: 3 };
const votes: gateway.Operations["POST /v1/feedback"]["body"] = [{ interaction_id: "a", type: "thumbs", value: true }];
const embedded: gateway.Operations["POST /v1/embeddings"]["body"] = { input: ["So good."] };
const key: control.Operations["POST /api/keys"]["body"] = { name: "app", scopes: ["infer"], models: ["reviews"] };
export const text = (answer: gateway.Chat): unknown => answer.choices[0]?.message?.content;

// @ts-expect-error: a chat needs messages.
const empty: gateway.ChatRequest = { model: "reviews" };
// @ts-expect-error: there is no such kind of feedback.
const odd: gateway.Operations["POST /v1/feedback"]["body"] = { interaction_id: "a", type: "applause", value: true };
// @ts-expect-error: a key has no field of this name.
const wrong: control.Operations["POST /api/keys"]["body"] = { name: "app", scopes: ["infer"], colour: "red" };

export { question, votes, embedded, key, empty, odd, wrong };
