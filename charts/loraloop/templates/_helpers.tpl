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

{{/* (root, name of a modelSpec entry): its StatefulSet. A StatefulSet's labels add 11 characters to its name. */}}
{{- define "loraloop.engineName" -}}
{{- printf "%s-engine-%s" (include "loraloop.fullname" (first .) | trunc 30 | trimSuffix "-") (last .) -}}
{{- end }}

{{/* (root, image): [registry/]repository@digest, or :tag without a digest, the tag being the appVersion when empty. */}}
{{- define "loraloop.image" -}}
{{- $root := first . -}}
{{- $image := last . -}}
{{- with $root.Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* root: "true" if pods that share a volume must share a node, because a claim can be mounted on one node only. */}}
{{- define "loraloop.oneNode" -}}
{{- $claims := list .Values.adapters.accessModes -}}
{{- if eq (include "loraloop.modelClaim" .) "" -}}{{- else -}}
{{- $claims = append $claims .Values.baseModelVolume.accessModes -}}
{{- end -}}
{{- range $claims -}}
{{- if and (has "ReadWriteOnce" .) (not (has "ReadWriteMany" .)) (not (has "ReadOnlyMany" .)) -}}true{{- end -}}
{{- end -}}
{{- end }}

{{/* The label of pods that mount the adapters or the base model; a release's name is in another one. */}}
{{- define "loraloop.sharedLabel" -}}
loraloop/volumes: shared
{{- end }}

{{/* (root, part, shares volumes?): the affinity that a part's values give, with the one that keeps it on one node. */}}
{{- define "loraloop.affinity" -}}
{{- $root := index . 0 -}}
{{- $affinity := deepCopy ((index . 1).affinity | default dict) -}}
{{- if and (index . 2) (include "loraloop.oneNode" $root) -}}
{{- $labels := dict "app.kubernetes.io/name" "loraloop" "app.kubernetes.io/instance" $root.Release.Name "loraloop/volumes" "shared" -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $pods := $affinity.podAffinity | default dict -}}
{{- $key := "requiredDuringSchedulingIgnoredDuringExecution" -}}
{{- $_ := set $pods $key (append (get $pods $key | default list) $term) -}}
{{- $_ := set $affinity "podAffinity" $pods -}}
{{- end -}}
{{- with $affinity }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* (root, component, part, shares volumes?): labels and annotations of a pod. */}}
{{- define "loraloop.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $part := index . 2 -}}
labels:
  {{- include "loraloop.selector" (list $root (index . 1)) | nindent 2 }}
  {{- if index . 3 }}
  {{- include "loraloop.sharedLabel" $root | nindent 2 }}
  {{- end }}
  {{- with $part.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $part.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (root, part, shares volumes?): the head of every pod's spec. */}}
{{- define "loraloop.pod" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
serviceAccountName: {{ $root.Values.serviceAccount.name | default (include "loraloop.fullname" $root) }}
automountServiceAccountToken: false
# Service links would add LORALOOP_…_PORT variables, which look like settings and are none.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int $root.Values.runAsUser }}
  runAsGroup: {{ int $root.Values.runAsUser }}
  fsGroup: {{ int $root.Values.runAsUser }}
  # Without this the kubelet walks every adapter file at each start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.nodeSelector | default $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations | default $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "loraloop.affinity" (list $root $part (index . 2)) }}
affinity: {{- . | nindent 2 }}
{{- end }}
{{- with $part.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName | default $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $part.runtimeClassName }}
runtimeClassName: {{ . }}
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

{{/* probe's values: how often, how long, how many failures. */}}
{{- define "loraloop.probeTimes" -}}
{{- toYaml . -}}
{{- end }}

{{/* part: more variables of its container. */}}
{{- define "loraloop.env" -}}
{{- with .env }}
{{- toYaml . }}
{{- end }}
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
{{- $name := include "loraloop.engineName" (list $ .name) -}}
{{- range $index := until (int .replicaCount) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s:%s" $name $index $name (include "loraloop.port" "engine")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $urls -}}
{{- end }}

{{/* (root, component): the container of a LoraLoop process, without its resources and volume mounts. */}}
{{- define "loraloop.process" -}}
{{- $root := first . -}}
{{- $component := last . -}}
{{- $part := get $root.Values $component -}}
name: {{ $component }}
image: {{ include "loraloop.image" (list $root ($part.image | default $root.Values.image)) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [loraloop, {{ $component }}, --config, /etc/loraloop/loraloop.yaml, --watch]
# Commands that a person runs in the container read ./loraloop.yaml.
workingDir: /etc/loraloop
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
  # For Prometheus.
  - name: LORALOOP_METRICS_KEY
    valueFrom:
      secretKeyRef:
        name: {{ $root.Values.existingSecret }}
        key: LORALOOP_METRICS_KEY
        optional: true
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
  {{- with include "loraloop.env" $part }}
  {{- . | nindent 2 }}
  {{- end }}
{{- with $part.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
# Imports and migrations of the store end before liveness counts.
startupProbe:
  {{- include "loraloop.probe" "/health" | nindent 2 }}
  {{- include "loraloop.probeTimes" $part.startupProbe | nindent 2 }}
livenessProbe:
  {{- include "loraloop.probe" "/health" | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  # Control is ready when its store is open and its scheduler runs. An engine that is away must not take it out of its
  # Service: gateways ship votes to it, and people act on it.
  {{- include "loraloop.probe" (ternary "/ready" "/health" (eq $component "gateway")) | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
securityContext:
  {{- include "loraloop.containerSecurity" $root | nindent 2 }}
{{- end }}

{{/* root: restarts a process when its file changes, but for models: --watch reloads what it can of the mounted file. */}}
{{- define "loraloop.configChecksum" -}}
checksum/config: {{ omit .Values.config "models" | toYaml | sha256sum }}
{{- end }}

{{/* (root, part): the part's values, its podAnnotations with the checksum. */}}
{{- define "loraloop.withChecksum" -}}
{{- $checksum := include "loraloop.configChecksum" (first .) | fromYaml -}}
{{- dict "podLabels" (last .).podLabels "podAnnotations" (merge $checksum ((last .).podAnnotations | default dict)) | toYaml -}}
{{- end }}

{{/* root: the adapters' claim. */}}
{{- define "loraloop.adaptersClaim" -}}
{{- .Values.adapters.existingClaim | default (include "loraloop.name" (list . "adapters")) -}}
{{- end }}

{{/* root: the claim of base models; empty without one. The chart makes one only where it fills it. */}}
{{- define "loraloop.modelClaim" -}}
{{- with .Values.baseModelVolume -}}
{{- .existingClaim | default (ternary (include "loraloop.name" (list $ "models")) "" .download.enabled) -}}
{{- end -}}
{{- end }}

{{/* root: waits until the folder of the base model is complete; the job that fills it renames it into place. */}}
{{- define "loraloop.waitForModel" -}}
- name: wait-for-model
  image: {{ include "loraloop.image" (list . .Values.image) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -c, 'until [ -f "$FOLDER/config.json" ]; do echo "waiting for $FOLDER"; sleep 5; done']
  env:
    - name: FOLDER
      value: {{ .Values.config.base_model | quote }}
  securityContext:
    {{- include "loraloop.containerSecurity" . | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 64Mi}
  volumeMounts:
    - name: base-model
      mountPath: {{ .Values.baseModelVolume.mountPath }}
      readOnly: true
{{- end }}

{{/* (root, part): what runs before a process that reads the base model. */}}
{{- define "loraloop.initContainers" -}}
{{- if (first .).Values.baseModelVolume.download.enabled }}
{{- include "loraloop.waitForModel" (first .) }}
{{- end }}
{{- with (last .).initContainers }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* root: the container of a command that asks control, without its name, image and volumes of its own. */}}
{{- define "loraloop.command" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
workingDir: /etc/loraloop
securityContext:
  {{- include "loraloop.containerSecurity" . | nindent 2 }}
env:
  - name: LORALOOP_DATA
    value: /data
  - name: LORALOOP_GATEWAY__CONTROL_URL
    value: http://{{ include "loraloop.name" (list . "control") }}:{{ include "loraloop.port" "control" }}
  - name: LORALOOP_ENGINE__URLS
    value: {{ include "loraloop.engineURLs" . | squote }}
  - name: LORALOOP_OPS_KEY
    valueFrom:
      secretKeyRef:
        name: {{ .Values.existingSecret }}
        key: LORALOOP_OPS_KEY
  {{- include "loraloop.userEnv" . | nindent 2 }}
{{- end }}

{{/* root: the claim of backups. */}}
{{- define "loraloop.backupClaim" -}}
{{- .Values.backup.existingClaim | default (include "loraloop.name" (list . "backups")) -}}
{{- end }}

{{/* root: the volumes of everything that reads adapters and the base model. */}}
{{- define "loraloop.modelVolumes" -}}
- name: tmp
  emptyDir: {}
- name: adapters
  persistentVolumeClaim:
    claimName: {{ include "loraloop.adaptersClaim" . }}
{{- with include "loraloop.modelClaim" . }}
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
{{- if include "loraloop.modelClaim" $root }}
- name: base-model
  mountPath: {{ $root.Values.baseModelVolume.mountPath }}
  readOnly: true
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
