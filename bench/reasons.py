"""Why a goal is not met, by row; shown only where that is so."""

REASONS: dict[str, str] = {}
