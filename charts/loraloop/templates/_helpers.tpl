{{/* Names, labels, security contexts and the parts that several pods share. A list argument is (root, …). */}}

{{/* A DNS label holds 63 characters: 40, and 23 for "-engine-<name>". */}}
{{- define "loraloop.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-loraloop" .Release.Name) (contains "loraloop" .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* (root, component): an object's name. */}}
{{- define "loraloop.name" -}}
{{- printf "%s-%s" (include "loraloop.fullname" (first .)) (last .) -}}
{{- end }}

{{/* component: the port that its process listens on. */}}
{{- define "loraloop.port" -}}
{{- get (dict "gateway" 8080 "control" 8081 "engine" 8090) . -}}
{{- end }}

{{/* (root, component): what selectors match, and all that pods carry: a version would restart engines at upgrades. */}}
{{- define "loraloop.selector" -}}
app.kubernetes.io/name: loraloop
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* (root, component): all labels. */}}
{{- define "loraloop.labels" -}}
{{ include "loraloop.selector" . }}
app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (first .).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (first .).Chart.Name (first .).Chart.Version | replace "+" "_" }}
{{- end }}

{{/* (root, image): repository:tag, the tag being the appVersion when empty. */}}
{{- define "loraloop.image" -}}
{{- $image := last . -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (first .).Chart.AppVersion) -}}
{{- end }}

{{/* root: the head of every pod's spec. */}}
{{- define "loraloop.pod" -}}
serviceAccountName: {{ include "loraloop.fullname" . }}
automountServiceAccountToken: false
# Service links would add LORALOOP_…_PORT variables, which look like settings and are none.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int .Values.runAsUser }}
  runAsGroup: {{ int .Values.runAsUser }}
  fsGroup: {{ int .Values.runAsUser }}
  # Without this the kubelet walks every adapter file at each start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The security context of every container. */}}
{{- define "loraloop.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The user's number has no entry in the image's passwd: torch asks for a name, libraries for a home to cache in. */}}
{{- define "loraloop.userEnv" -}}
- name: HOME
  value: /tmp
- name: USER
  value: loraloop
{{- end }}

{{/* path: an HTTP probe's handler. */}}
{{- define "loraloop.probe" -}}
httpGet:
  path: {{ . }}
  port: http
{{- end }}

{{/* component: the keys of the Secret that its process needs; the gateway, which apps can reach, holds no ops key. */}}
{{- define "loraloop.keys" -}}
{{- get (dict "gateway" "LORALOOP_APP_KEY LORALOOP_INTERNAL_KEY" "control" "LORALOOP_OPS_KEY LORALOOP_INTERNAL_KEY") . -}}
{{- end }}

{{/* root: the engines' URLs as a JSON list. */}}
{{- define "loraloop.engineURLs" -}}
{{- $urls := .Values.externalEngines -}}
{{- if .Values.servingEngineSpec.enabled -}}
{{- range .Values.servingEngineSpec.modelSpec -}}
{{- $service := include "loraloop.name" (list $ (printf "engine-%s" .name)) -}}
{{- $urls = append $urls (printf "http://%s:%s" $service (include "loraloop.port" "engine")) -}}
{{- end -}}
{{- end -}}
{{- toJson $urls -}}
{{- end }}

{{/* (root, component): the container of a LoraLoop process, without its resources and volume mounts. */}}
{{- define "loraloop.process" -}}
{{- $root := first . -}}
{{- $component := last . -}}
name: {{ $component }}
image: {{ include "loraloop.image" (list $root $root.Values.image) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [loraloop, {{ $component }}, --config, /etc/loraloop/loraloop.yaml]
ports:
  - name: http
    containerPort: {{ include "loraloop.port" $component }}
env:
  - name: LORALOOP_DATA
    value: /data
  - name: LORALOOP_{{ upper $component }}__LISTEN
    value: 0.0.0.0:{{ include "loraloop.port" $component }}
  - name: LORALOOP_GATEWAY__CONTROL_URL
    value: http://{{ include "loraloop.name" (list $root "control") }}:{{ include "loraloop.port" "control" }}
  - name: LORALOOP_ENGINE__URLS
    value: {{ include "loraloop.engineURLs" $root | squote }}
  {{- if eq $component "gateway" }}
  # Control counts a spool's bytes by this name: a new spool needs a new one, a kept spool its old one.
  - name: LORALOOP_GATEWAY__NAME
    {{- if $root.Values.gateway.spool.persistence }}
    value: {{ include "loraloop.name" (list $root "gateway") }}
    {{- else }}
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
    {{- end }}
  {{- end }}
  {{- range $key := include "loraloop.keys" $component | splitList " " }}
  - name: {{ $key }}
    valueFrom:
      secretKeyRef:
        name: {{ $root.Values.existingSecret }}
        key: {{ $key }}
  {{- end }}
  {{- if eq $component "control" }}
  # The URLs of notifications, the secrets of webhooks and of the log-in's provider, and the judge's key. Without them
  # control sends no notifications, and no secret to a provider or a judge.
  {{- range $key := list "LORALOOP_NOTIFY_URLS" "LORALOOP_WEBHOOK_SECRET" "LORALOOP_OIDC_CLIENT_SECRET" "LORALOOP_JUDGE_KEY" }}
  - name: {{ $key }}
    valueFrom:
      secretKeyRef:
        name: {{ $root.Values.existingSecret }}
        key: {{ $key }}
        optional: true
  {{- end }}
  {{- end }}
  {{- include "loraloop.userEnv" $root | nindent 2 }}
# Two minutes to import and to migrate the store before liveness counts.
startupProbe:
  {{- include "loraloop.probe" "/health" | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  {{- include "loraloop.probe" "/health" | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  {{- include "loraloop.probe" "/ready" | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
securityContext:
  {{- include "loraloop.containerSecurity" $root | nindent 2 }}
{{- end }}

{{/* root: restarts a process when its file changes; a mounted file's change alone would go unnoticed. */}}
{{- define "loraloop.configChecksum" -}}
checksum/config: {{ toYaml .Values.config | sha256sum }}
{{- end }}

{{/* root: the adapters' claim. */}}
{{- define "loraloop.adaptersClaim" -}}
{{- .Values.adapters.existingClaim | default (include "loraloop.name" (list . "adapters")) -}}
{{- end }}

{{/* root: the volumes of everything that reads adapters and the base model. */}}
{{- define "loraloop.modelVolumes" -}}
- name: tmp
  emptyDir: {}
- name: adapters
  persistentVolumeClaim:
    claimName: {{ include "loraloop.adaptersClaim" . }}
{{- with .Values.baseModelVolume.existingClaim }}
- name: base-model
  persistentVolumeClaim:
    claimName: {{ . }}
    readOnly: true
{{- end }}
{{- end }}

{{/* (root, adapters read-only?): their mounts. */}}
{{- define "loraloop.modelMounts" -}}
{{- $root := first . -}}
- name: tmp
  mountPath: /tmp
- name: adapters
  mountPath: /data/adapters
  readOnly: {{ last . }}
{{- with $root.Values.baseModelVolume }}
{{- if .existingClaim }}
- name: base-model
  mountPath: {{ .mountPath }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{/* (size, storageClassName, access modes): the body of a claim. */}}
{{- define "loraloop.claimSpec" -}}
accessModes: {{ toJson (index . 2) }}
{{- with index . 1 }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ index . 0 }}
{{- end }}
