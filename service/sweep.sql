-- What has fallen due. Each statement: what ended before :before, the longest overdue first, at most :most, without the
-- first :skipped, which the door did not end in this turn.

-- name: mutes_due
-- Mutes of persons that are over.
SELECT group_id, person_id FROM mute
WHERE ended_at IS NULL AND until < :before
ORDER BY until, by_record LIMIT :most OFFSET :skipped;

-- name: mutes_all_due
-- Whole-group mutes that are over.
SELECT group_id FROM mute_all
WHERE ended_at IS NULL AND until < :before
ORDER BY until, by_record LIMIT :most OFFSET :skipped;

-- name: bars_due
-- Bars that are over.
SELECT group_id, person_id FROM bar
WHERE ended_at IS NULL AND until < :before
ORDER BY until, by_record LIMIT :most OFFSET :skipped;

-- name: requests_due
-- Requests to join and invitations that nobody answered since :before.
SELECT group_id, person_id FROM join_request
WHERE ended_at IS NULL AND at < :before
ORDER BY at, by_record LIMIT :most OFFSET :skipped;

-- name: offers_due
-- Offered transfers that nobody answered. Texts of instants may or may not have decimals: the index narrows by the second.
SELECT group_id FROM groups
WHERE offer IS NOT NULL
    AND offer ->> 'until' < to_char(:before::timestamptz AT TIME ZONE 'UTC' + interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    AND (offer ->> 'until')::timestamptz < :before::timestamptz
    AND dissolved_at IS NULL
ORDER BY offer ->> 'until', group_id LIMIT :most OFFSET :skipped;

-- name: group_overrides_due
-- Groups whose tier was set by hand until now.
SELECT group_id FROM groups
WHERE override IS NOT NULL
    AND override ->> 'until' < to_char(:before::timestamptz AT TIME ZONE 'UTC' + interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    AND (override ->> 'until')::timestamptz < :before::timestamptz
    AND dissolved_at IS NULL
ORDER BY override ->> 'until', group_id LIMIT :most OFFSET :skipped;

-- name: group_falls_due
-- Groups whose lower result has held since :before (S079).
SELECT group_id FROM groups
WHERE tier_basis -> 'waiting' ->> 'since'
        < to_char(:before::timestamptz AT TIME ZONE 'UTC' + interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    AND (tier_basis -> 'waiting' ->> 'since')::timestamptz <= :before::timestamptz
    AND dissolved_at IS NULL
ORDER BY tier_basis -> 'waiting' ->> 'since', group_id LIMIT :most OFFSET :skipped;

-- name: account_falls_due
-- Accounts whose lower result has held since :before (S079).
SELECT account_id FROM account
WHERE tier_basis -> 'waiting' ->> 'since'
        < to_char(:before::timestamptz AT TIME ZONE 'UTC' + interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    AND (tier_basis -> 'waiting' ->> 'since')::timestamptz <= :before::timestamptz
    AND closed_at IS NULL
ORDER BY tier_basis -> 'waiting' ->> 'since', account_id LIMIT :most OFFSET :skipped;

-- name: account_offers_due
-- Offered accounts that nobody answered for.
SELECT account_id FROM account
WHERE offer IS NOT NULL AND offer ->> 'ended_how' IS NULL
    AND offer ->> 'until' < to_char(:before::timestamptz AT TIME ZONE 'UTC' + interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    AND (offer ->> 'until')::timestamptz < :before::timestamptz
    AND closed_at IS NULL
ORDER BY offer ->> 'until', account_id LIMIT :most OFFSET :skipped;

-- name: account_closings_due
-- Accounts whose closing is due: at the instant itself, not after it.
SELECT account_id FROM account
WHERE closing_due_at IS NOT NULL AND closing_due_at <= :before AND closed_at IS NULL
ORDER BY closing_due_at, account_id LIMIT :most OFFSET :skipped;

-- name: account_overrides_due
-- Accounts whose tier was set by hand until now.
SELECT account_id FROM account
WHERE override IS NOT NULL
    AND override ->> 'until' < to_char(:before::timestamptz AT TIME ZONE 'UTC' + interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    AND (override ->> 'until')::timestamptz < :before::timestamptz
    AND closed_at IS NULL
ORDER BY override ->> 'until', account_id LIMIT :most OFFSET :skipped;

-- name: approvals_due
-- Proposed acts on which nobody agreed in time.
SELECT approval_id FROM approval
WHERE state = 'open' AND expires_at < :before
ORDER BY expires_at, approval_id LIMIT :most OFFSET :skipped;

-- name: successions_due
-- Groups whose succession is due: at the instant itself, not after it.
SELECT group_id FROM groups
WHERE succession_due_at IS NOT NULL AND succession_due_at <= :before AND dissolved_at IS NULL
ORDER BY succession_due_at, group_id LIMIT :most OFFSET :skipped;

-- name: credentials_due
-- Credentials that are past their date, answered or not.
SELECT credential_id FROM credential
WHERE ended_at IS NULL AND valid_until < :before
ORDER BY valid_until, credential_id LIMIT :most OFFSET :skipped;

-- name: measures_due
-- Measures that are over.
SELECT measure_id FROM measure
WHERE ended_at IS NULL AND until < :before
ORDER BY until, measure_id LIMIT :most OFFSET :skipped;

-- name: accounts_neglected^
-- The next :most accounts after :after, in the order of their ids, and where the next look begins, null at the end. Among them:
-- those unused since :warn_before whose stretch without use has no warning yet, those warned since :warned_before,
-- unused since :pause_before and not paused, and those whose operator lost the credential of their field without publishing there
-- having been suspended; where another one is past its date but not ended, its own end is what suspends.
WITH walked AS MATERIALIZED (
    SELECT account_id, operator_id, klass, accepted_at, last_used_at, accepted_at IS NOT NULL AND closed_at IS NULL AS lives
    FROM account WHERE account_id > :after ORDER BY account_id LIMIT :most
), unused AS (
    SELECT w.account_id, d.unused_since = u.since AS warned, d.at AS warned_at, u.since
    FROM walked w CROSS JOIN LATERAL (
        SELECT greatest(w.accepted_at, w.last_used_at, max(m.ended_at)) AS since, bool_or(m.ended_at IS NULL) AS paused
        FROM measure m
        WHERE m.target_type = 'account' AND m.target_id = w.account_id AND m.code = 'P_DORMANT_PAUSE'
    ) u LEFT JOIN dormancy_warning d USING (account_id)
    WHERE w.lives AND greatest(w.accepted_at, w.last_used_at) <= :warn_before::timestamptz
        AND u.since <= :warn_before::timestamptz AND u.paused IS NOT TRUE
), lapsed AS (
    SELECT w.account_id
    FROM walked w CROSS JOIN LATERAL (
        SELECT c.ended_at FROM credential c
        WHERE c.operator_id = w.operator_id AND c.ended_how = 'expired' AND c.accepted_at IS NOT NULL
            AND c.kind = CASE w.klass WHEN 'news' THEN 'news_licence' ELSE w.klass END
        ORDER BY c.ended_at DESC LIMIT 1
    ) lost
    WHERE w.lives
        AND NOT EXISTS (
            SELECT FROM credential c
            WHERE c.operator_id = w.operator_id AND c.ended_at IS NULL AND c.accepted_at IS NOT NULL
                AND c.kind = CASE w.klass WHEN 'news' THEN 'news_licence' ELSE w.klass END
                AND c.valid_from <= :now::timestamptz
        )
        AND NOT EXISTS (
            SELECT FROM measure m
            WHERE m.target_type = 'account' AND m.target_id = w.account_id AND m.code = 'P_FIELD_SUSPEND'
                AND m.scope = w.klass AND m.from_at >= lost.ended_at
        )
)
SELECT
    (SELECT CASE WHEN count(*) = :most THEN max(account_id) END FROM walked) AS last,
    ARRAY(SELECT account_id FROM unused WHERE warned IS NOT TRUE ORDER BY 1) AS to_warn,
    ARRAY(
        SELECT account_id FROM unused
        WHERE warned AND since <= :pause_before::timestamptz AND warned_at <= :warned_before::timestamptz ORDER BY 1
    ) AS to_pause,
    ARRAY(SELECT account_id FROM lapsed ORDER BY 1) AS to_suspend;

-- name: credit_due
-- People and operators whose clean period began at :before or earlier.
SELECT subject_type, subject_id FROM credit
WHERE recovering_since <= :before
ORDER BY recovering_since, subject_type, subject_id LIMIT :most OFFSET :skipped;

-- name: level_moves
-- Operators whose level moved and may not have reached all their accounts, the earliest move first.
SELECT m.operator_id, m.by_record, m.at, c.score, o.identity_status = 'verified' AS verified
FROM level_move m
JOIN operator o USING (operator_id)
LEFT JOIN credit c ON c.subject_type = 'operator' AND c.subject_id = m.operator_id
ORDER BY m.at, m.operator_id;

-- name: accounts_on_another_level
-- Accounts of an operator whose tier rests on another level of its credit than this one (S077).
SELECT account_id FROM account
WHERE operator_id = :operator_id AND accepted_at IS NOT NULL AND closed_at IS NULL
    AND tier_basis -> 'inputs' ->> 'operator_credit' <> :level
ORDER BY account_id LIMIT :most OFFSET :skipped;

-- name: level_settled!
-- Drop a move that has reached all accounts, unless the level moved again meanwhile.
DELETE FROM level_move
WHERE operator_id = :operator_id AND by_record = :by_record AND NOT EXISTS (
    SELECT FROM account
    WHERE operator_id = :operator_id AND accepted_at IS NOT NULL AND closed_at IS NULL
        AND tier_basis -> 'inputs' ->> 'operator_credit' <> :level
);

-- name: owners_lost^
-- The next :most groups after :after, in the order of their ids: which of them have an owner who is closed, a bot, unverified
-- or not seen since :absent_since, and whose succession is not under way; and where the next look begins, null at the end.
WITH walked AS MATERIALIZED (
    SELECT group_id, owner_id, succession_due_at, dissolved_at FROM groups
    WHERE group_id > :after ORDER BY group_id LIMIT :most
)
SELECT
    CASE WHEN count(*) = :most THEN max(walked.group_id) END AS last,
    coalesce(array_agg(walked.group_id) FILTER (
        WHERE walked.dissolved_at IS NULL AND (
            (walked.succession_due_at IS NULL
                AND (p.bot OR p.identity_status <> 'verified' OR p.seen_at < :absent_since::timestamptz))
            OR (p.closed_at IS NOT NULL
                AND (walked.succession_due_at IS NULL OR walked.succession_due_at > :now::timestamptz))
        )
    ), '{}') AS lost
FROM walked LEFT JOIN person p ON p.person_id = walked.owner_id;

-- name: old_answers_due
-- Whether first answers are a day past :before, so that a purge takes a day's worth and not a second's.
SELECT :before::timestamptz AS before
WHERE EXISTS (SELECT FROM request_key WHERE at < :before::timestamptz - interval '1 day')
LIMIT :most OFFSET :skipped;

-- name: old_effects_due
-- Whether effects that nothing holds are a day past :before. They stand in the order of time, or nearly.
SELECT :before::timestamptz AS before
WHERE EXISTS (
    SELECT FROM (SELECT at, rid FROM outbox ORDER BY id LIMIT 1000) o
    WHERE o.at < :before::timestamptz - interval '1 day' AND NOT EXISTS (
        SELECT FROM held h JOIN record r ON r.rid = o.rid WHERE concerns(r.body, h.tag)
    )
)
LIMIT :most OFFSET :skipped;
