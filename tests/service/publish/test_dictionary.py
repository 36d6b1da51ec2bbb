"""The data dictionary: each column described, by the schema's own words where it holds a field."""

from service.events import AffectEvent, FaceAffect
from service.publish.dictionary import entries
from service.publish.table import EVERY_COLUMN, FILE


def test_every_column_is_described_by_the_schema_where_it_holds_a_field() -> None:
    found = {one.column: one for one in entries((FILE, *EVERY_COLUMN))}
    assert all(one.description for one in found.values())
    assert found["valence"].description == FaceAffect.model_fields["valence"].description
    assert (found["valence"].minimum, found["valence"].maximum) == ("-1", "1")
    assert found["timestamp"].description.startswith(str(AffectEvent.model_fields["t"].description))
    assert found["status"].values == "ok;warming_up;held;abstained"
    assert found["AU12_p"].description == f"{FaceAffect.model_fields['aus'].description}. Here AU12, lip corner puller"
    assert (found["pose_Rx"].unit, found["age_ms"].unit) == ("rad", "ms")
