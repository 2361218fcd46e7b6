"""The configuration that `loraloop init` writes: small, commented, and safe without changes."""

STARTER = """\
# LoraLoop. Every setting: docs/configuration.md. Check it with: loraloop doctor
base_model: smollm2-135m-instruct   # a packaged name, or a folder with config.json
data: data                          # store, spools, adapters, snapshots, logs
access: keys                        # the first start prints one; open: nobody needs any, on loopback alone

engine:
  listen: 127.0.0.1:8090            # loopback only; apps never reach it
  max_loras: 4                      # distinct adapters in one batch
  max_lora_rank: 16
gateway:
  listen: 127.0.0.1:8080            # apps: http://127.0.0.1:8080/v1
control:
  listen: 127.0.0.1:8081            # console: http://127.0.0.1:8081/promotions

models:
  reviews:                          # what apps send as "model"; it never changes
    labels: [negative, neutral, positive]
    retrain:
      schedule: "0 3 * * *"         # and whenever so much feedback is new:
      min_new_feedback: 500
    promotion:
      mode: auto                    # approve: a person confirms each switch
      primary: {kpi: macro_f1, min_gain: 0.0}
      guardrails:
        - {kpi: accuracy, margin: 0.02}
      canary: {share: 0.1, margin: 0.05, max_hours: 24}
"""
