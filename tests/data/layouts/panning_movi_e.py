from layouts.movi_e import movi

LAYOUT = movi("panning_movi_e")
