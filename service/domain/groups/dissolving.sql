-- name: open_in
-- How many rows are open in each group; columns in the order of OpenIn.
SELECT
    g.group_id,
    (SELECT count(*) FROM mute t WHERE t.group_id = g.group_id AND t.ended_at IS NULL) AS mutes,
    (SELECT count(*) FROM mute_all t WHERE t.group_id = g.group_id AND t.ended_at IS NULL) AS whole_group_mutes,
    (SELECT count(*) FROM bar t WHERE t.group_id = g.group_id AND t.ended_at IS NULL) AS bars,
    (SELECT count(*) FROM join_request t WHERE t.group_id = g.group_id AND t.ended_at IS NULL) AS join_requests,
    (SELECT count(*) FROM hidden_item t WHERE t.group_id = g.group_id AND t.ended_at IS NULL) AS hidden_items
FROM unnest(:group_ids::text[]) AS g (group_id);

-- name: end_mutes!
-- Every open mute of these groups ends by dissolution.
UPDATE mute t SET ended_at = w.at, ended_how = 'dissolved', ended_record = w.record
FROM unnest(:group_ids::text[], :instants::timestamptz[], :records::text[]) AS w (group_id, at, record)
WHERE t.group_id = w.group_id AND t.ended_at IS NULL;

-- name: end_whole_group_mutes!
-- Every open mute of a whole group of these ends by dissolution.
UPDATE mute_all t SET ended_at = w.at, ended_how = 'dissolved', ended_record = w.record
FROM unnest(:group_ids::text[], :instants::timestamptz[], :records::text[]) AS w (group_id, at, record)
WHERE t.group_id = w.group_id AND t.ended_at IS NULL;

-- name: end_bars!
-- Every open bar of these groups ends by dissolution.
UPDATE bar t SET ended_at = w.at, ended_how = 'dissolved', ended_record = w.record
FROM unnest(:group_ids::text[], :instants::timestamptz[], :records::text[]) AS w (group_id, at, record)
WHERE t.group_id = w.group_id AND t.ended_at IS NULL;

-- name: end_join_requests!
-- Every open request and invitation of these groups ends by dissolution.
UPDATE join_request t SET ended_at = w.at, ended_how = 'dissolved', ended_record = w.record
FROM unnest(:group_ids::text[], :instants::timestamptz[], :records::text[]) AS w (group_id, at, record)
WHERE t.group_id = w.group_id AND t.ended_at IS NULL;

-- name: end_hidden_items!
-- No item of these groups is hidden by them any more.
UPDATE hidden_item t SET ended_at = w.at, ended_record = w.record
FROM unnest(:group_ids::text[], :instants::timestamptz[], :records::text[]) AS w (group_id, at, record)
WHERE t.group_id = w.group_id AND t.ended_at IS NULL;
