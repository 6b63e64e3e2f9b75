"""Tables and columns with the real server's names, as far as the stand-in uses them: row counts, backups and facts read them.

JSON is kept as ``json`` (the real server has text columns): it keeps the order of its keys.
"""

_MOMENT = "timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')"
_ID = "id uuid PRIMARY KEY DEFAULT gen_random_uuid()"

ACCOUNTS = f"""
CREATE TABLE IF NOT EXISTS alembic_version (version_num varchar(32) PRIMARY KEY);
CREATE TABLE IF NOT EXISTS dify_setups (
    version varchar(255) PRIMARY KEY, setup_at timestamp(0) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
CREATE TABLE IF NOT EXISTS accounts (
    {_ID}, name varchar(255) NOT NULL, email varchar(255) NOT NULL UNIQUE, password varchar(255),
    password_salt varchar(255), avatar varchar(255), interface_language varchar(255), interface_theme varchar(255),
    timezone varchar(255), last_login_at timestamp, last_login_ip varchar(255),
    status varchar(16) NOT NULL DEFAULT 'active', initialized_at timestamp,
    created_at {_MOMENT}, updated_at {_MOMENT}, last_active_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS tenants (
    {_ID}, name varchar(255) NOT NULL, encrypt_public_key text, plan varchar(255) NOT NULL DEFAULT 'basic',
    status varchar(255) NOT NULL DEFAULT 'normal', custom_config text, created_at {_MOMENT}, updated_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS tenant_account_joins (
    {_ID}, tenant_id uuid NOT NULL, account_id uuid NOT NULL, role varchar(16) NOT NULL DEFAULT 'normal', invited_by uuid,
    current boolean NOT NULL DEFAULT false, created_at {_MOMENT}, updated_at {_MOMENT}, UNIQUE (tenant_id, account_id)
);
"""

MODELS = f"""
CREATE TABLE IF NOT EXISTS provider_models (
    {_ID}, tenant_id uuid NOT NULL, provider_name varchar(255) NOT NULL, model_name varchar(255) NOT NULL,
    model_type varchar(40) NOT NULL, encrypted_config json, is_valid boolean NOT NULL DEFAULT true,
    created_at {_MOMENT}, updated_at {_MOMENT}, UNIQUE (tenant_id, provider_name, model_name, model_type)
);
CREATE TABLE IF NOT EXISTS tenant_default_models (
    {_ID}, tenant_id uuid NOT NULL, provider_name varchar(255) NOT NULL, model_name varchar(255) NOT NULL,
    model_type varchar(40) NOT NULL, created_at {_MOMENT}, updated_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS embeddings (
    {_ID}, model_name varchar(255) NOT NULL, provider_name varchar(255) NOT NULL, hash varchar(64) NOT NULL,
    embedding bytea NOT NULL, created_at {_MOMENT}, UNIQUE (model_name, hash, provider_name)
);
"""

KNOWLEDGE = f"""
CREATE TABLE IF NOT EXISTS upload_files (
    {_ID}, tenant_id uuid NOT NULL, storage_type varchar(255) NOT NULL DEFAULT 'local', key varchar(255) NOT NULL,
    name varchar(255) NOT NULL, size integer NOT NULL, extension varchar(255) NOT NULL, mime_type varchar(255),
    created_by_role varchar(255) NOT NULL DEFAULT 'account', created_by uuid NOT NULL, created_at {_MOMENT},
    used boolean NOT NULL DEFAULT false, used_by uuid, used_at timestamp, hash varchar(255)
);
CREATE TABLE IF NOT EXISTS datasets (
    {_ID}, tenant_id uuid NOT NULL, name varchar(255) NOT NULL, description text,
    provider varchar(255) NOT NULL DEFAULT 'vendor', permission varchar(255) NOT NULL DEFAULT 'only_me',
    data_source_type varchar(255), indexing_technique varchar(255), index_struct text, created_by uuid NOT NULL,
    created_at {_MOMENT}, updated_by uuid, updated_at {_MOMENT}, embedding_model varchar(255),
    embedding_model_provider varchar(255), retrieval_model json
);
CREATE TABLE IF NOT EXISTS dataset_process_rules (
    {_ID}, dataset_id uuid NOT NULL, mode varchar(255) NOT NULL DEFAULT 'automatic', rules json, created_by uuid NOT NULL,
    created_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS documents (
    {_ID}, tenant_id uuid NOT NULL, dataset_id uuid NOT NULL, position integer NOT NULL,
    data_source_type varchar(255) NOT NULL, data_source_info json, dataset_process_rule_id uuid,
    batch varchar(255) NOT NULL, name varchar(255) NOT NULL, created_from varchar(255) NOT NULL, created_by uuid NOT NULL,
    created_at {_MOMENT}, processing_started_at timestamp, word_count integer, parsing_completed_at timestamp,
    cleaning_completed_at timestamp, splitting_completed_at timestamp, tokens integer, indexing_latency float,
    completed_at timestamp, paused_at timestamp, error text, stopped_at timestamp,
    indexing_status varchar(255) NOT NULL DEFAULT 'waiting', enabled boolean NOT NULL DEFAULT true,
    disabled_at timestamp, disabled_by uuid, archived boolean NOT NULL DEFAULT false, updated_at {_MOMENT},
    doc_type varchar(40), doc_metadata json, doc_form varchar(255) NOT NULL DEFAULT 'text_model',
    doc_language varchar(255)
);
CREATE INDEX IF NOT EXISTS document_dataset_id_idx ON documents (dataset_id);
CREATE TABLE IF NOT EXISTS document_segments (
    {_ID}, tenant_id uuid NOT NULL, dataset_id uuid NOT NULL, document_id uuid NOT NULL, position integer NOT NULL,
    content text NOT NULL, answer text, word_count integer NOT NULL, tokens integer NOT NULL, keywords json,
    index_node_id varchar(255), index_node_hash varchar(255), hit_count integer NOT NULL DEFAULT 0,
    enabled boolean NOT NULL DEFAULT true, disabled_at timestamp, disabled_by uuid,
    status varchar(255) NOT NULL DEFAULT 'waiting', created_by uuid NOT NULL, created_at {_MOMENT},
    indexing_at timestamp, completed_at timestamp, error text, stopped_at timestamp
);
CREATE INDEX IF NOT EXISTS document_segment_document_id_idx ON document_segments (document_id);
CREATE INDEX IF NOT EXISTS document_segment_dataset_id_idx ON document_segments (dataset_id);
"""

APPS = f"""
CREATE TABLE IF NOT EXISTS apps (
    {_ID}, tenant_id uuid NOT NULL, name varchar(255) NOT NULL, description text NOT NULL DEFAULT '',
    mode varchar(255) NOT NULL, icon_type varchar(255), icon varchar(255), icon_background varchar(255),
    app_model_config_id uuid, status varchar(255) NOT NULL DEFAULT 'normal', enable_site boolean NOT NULL,
    enable_api boolean NOT NULL, use_icon_as_answer_icon boolean NOT NULL DEFAULT false, max_active_requests integer,
    created_by uuid, created_at {_MOMENT}, updated_by uuid, updated_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS app_model_configs (
    {_ID}, app_id uuid NOT NULL, configs json NOT NULL, created_by uuid, created_at {_MOMENT}, updated_by uuid,
    updated_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS app_dataset_joins (
    {_ID}, app_id uuid NOT NULL, dataset_id uuid NOT NULL, created_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS sites (
    {_ID}, app_id uuid NOT NULL, title varchar(255) NOT NULL, icon_type varchar(255), icon varchar(255),
    icon_background varchar(255), description text, default_language varchar(255) NOT NULL,
    chat_color_theme varchar(255), chat_color_theme_inverted boolean NOT NULL DEFAULT false,
    customize_domain varchar(255), copyright varchar(255), privacy_policy varchar(255), custom_disclaimer text DEFAULT '',
    customize_token_strategy varchar(255) NOT NULL DEFAULT 'not_allow', prompt_public boolean NOT NULL DEFAULT false,
    show_workflow_steps boolean NOT NULL DEFAULT true, use_icon_as_answer_icon boolean NOT NULL DEFAULT false,
    code varchar(255), created_by uuid, created_at {_MOMENT}, updated_by uuid, updated_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS api_tokens (
    {_ID}, app_id uuid, tenant_id uuid, type varchar(16) NOT NULL, token varchar(255) NOT NULL UNIQUE,
    last_used_at timestamp, created_at {_MOMENT}
);
"""

CHATS = f"""
CREATE TABLE IF NOT EXISTS end_users (
    {_ID}, tenant_id uuid NOT NULL, app_id uuid, type varchar(255) NOT NULL, session_id varchar(255) NOT NULL,
    created_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS conversations (
    {_ID}, app_id uuid NOT NULL, mode varchar(255) NOT NULL, name varchar(255) NOT NULL, inputs json,
    introduction text, status varchar(255) NOT NULL DEFAULT 'normal', from_source varchar(255) NOT NULL,
    from_end_user_id uuid, from_account_id uuid, is_deleted boolean NOT NULL DEFAULT false,
    created_at {_MOMENT}, updated_at {_MOMENT}
);
CREATE TABLE IF NOT EXISTS messages (
    {_ID}, app_id uuid NOT NULL, conversation_id uuid NOT NULL, inputs json, query text NOT NULL,
    answer text NOT NULL DEFAULT '', message_tokens integer NOT NULL DEFAULT 0, answer_tokens integer NOT NULL DEFAULT 0,
    provider_response_latency float NOT NULL DEFAULT 0, parent_message_id uuid, status varchar(255) NOT NULL DEFAULT 'normal',
    error text, from_source varchar(255) NOT NULL, from_end_user_id uuid, from_account_id uuid, created_at {_MOMENT}
);
CREATE INDEX IF NOT EXISTS message_conversation_id_idx ON messages (conversation_id);
CREATE TABLE IF NOT EXISTS dataset_retriever_resources (
    {_ID}, message_id uuid NOT NULL, position integer NOT NULL, dataset_id uuid NOT NULL, dataset_name text NOT NULL,
    document_id uuid NOT NULL, document_name text NOT NULL, data_source_type text NOT NULL, segment_id uuid NOT NULL,
    score float, content text NOT NULL, retriever_from text NOT NULL, created_at {_MOMENT}
);
"""

ALL = ACCOUNTS + MODELS + KNOWLEDGE + APPS + CHATS
