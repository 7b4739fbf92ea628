from layouts.movi_e import movi

LAYOUT = movi("movi_f")
