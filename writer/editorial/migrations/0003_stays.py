from django.db import migrations

# What was judged, what was said of it by consent, and what training was given never changes. The arguments of the trigger are
# the columns that may: those that become empty when a person, a generation or a story goes.
STAYS = """
CREATE FUNCTION editorial_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - TG_ARGV IS DISTINCT FROM to_jsonb(OLD) - TG_ARGV THEN
        RAISE EXCEPTION 'a row of % never changes', TG_TABLE_NAME USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""
ROWS = {
    "principleversion": ["author_id"],
    "consentevent": ["by_id"],
    "brief": ["asked_by_id"],
    "take": ["generation_id"],
    "snapshotrow": ["brief_id", "chosen_id", "rejected_id", "passage", "gone"],
}

# A row whose texts are gone is a tombstone, and stays one.
TOMBSTONE = """
CREATE FUNCTION editorial_tombstone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.gone IS NOT NULL THEN
        NEW.gone := OLD.gone;
    ELSIF NEW.brief_id IS NULL OR (NEW.chosen_id IS NULL AND OLD.chosen_id IS NOT NULL)
        OR (NEW.rejected_id IS NULL AND OLD.rejected_id IS NOT NULL) THEN
        NEW.gone := now();
    END IF;
    IF NEW.gone IS NOT NULL THEN
        NEW.passage := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER editorial_tombstone BEFORE UPDATE ON editorial_snapshotrow
    FOR EACH ROW EXECUTE FUNCTION editorial_tombstone();
"""

# Whatever builds a snapshot, a story comes into it only while its writer allows that.
CONSENT = """
CREATE FUNCTION editorial_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added JOIN editorial_brief ON editorial_brief.id = added.brief_id
        LEFT JOIN editorial_sharing ON editorial_sharing.story_id = editorial_brief.story_id
        WHERE editorial_brief.story_id IS NOT NULL AND editorial_sharing.training IS NOT TRUE
    ) THEN
        RAISE EXCEPTION 'a story without consent for training' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER editorial_consent AFTER INSERT ON editorial_snapshotrow
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION editorial_consent();
"""


SNAPSHOT = """
CREATE TRIGGER editorial_stays BEFORE UPDATE ON editorial_snapshot
    FOR EACH ROW WHEN (OLD.state = 'ready') EXECUTE FUNCTION editorial_stays('by_id');
"""


def stays(table: str, columns: list[str]) -> str:
    arguments = ", ".join(f"'{column}'" for column in columns)
    return (
        f"CREATE TRIGGER editorial_stays BEFORE UPDATE ON editorial_{table} "
        f"FOR EACH ROW EXECUTE FUNCTION editorial_stays({arguments});"
    )


class Migration(migrations.Migration):
    dependencies = [("editorial", "0002_judgement")]
    operations = [
        migrations.RunSQL(
            "DROP TRIGGER editorial_version_stays ON editorial_principleversion; DROP FUNCTION editorial_version_stays();",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(STAYS, "DROP FUNCTION editorial_stays();"),
        *(
            migrations.RunSQL(stays(table, columns), f"DROP TRIGGER editorial_stays ON editorial_{table};")
            for table, columns in ROWS.items()
        ),
        migrations.RunSQL(SNAPSHOT, "DROP TRIGGER editorial_stays ON editorial_snapshot;"),
        migrations.RunSQL(
            TOMBSTONE,
            "DROP TRIGGER editorial_tombstone ON editorial_snapshotrow; DROP FUNCTION editorial_tombstone();",
        ),
        migrations.RunSQL(
            CONSENT, "DROP TRIGGER editorial_consent ON editorial_snapshotrow; DROP FUNCTION editorial_consent();"
        ),
    ]
