"""The built-in instruments and domains. Sources of the figures: docs/simulator.md."""

from __future__ import annotations

from dtda.core.simulate.config import Camera, Display, Domain, Print, Room

# Prints. Office paper reflects 0.8 to 0.92 (ISO brightness); darkest tones by densities 1.3 to 2.2.
LASER = Print()
INKJET = Print(name="inkjet", screen=(0, 0), ink=(0.015, 0.045), gamut=(0.85, 1.2), gloss=(0, 0.01))
PHOTO = Print(  # glossy photo paper, 10 x 15 to 13 x 18 cm and A4
    name="photo", width_mm=(102, 210), height_mm=(152, 297), screen=(0, 0), dot_mm=(0.02, 0.05), paper=(0.82, 0.92),
    ink=(0.006, 0.02), gain=(0.75, 1.15), gamut=(0.9, 1.25), gloss=(0.02, 0.05), rough=(0.02, 0.3), bend=(0, 0.06),
)  # fmt: skip
CUT = Print(name="cut", holes=1.0, outline=0.6, held=1.0, picture=(1.7, 3.0), full=0.8)
MAGAZINE = Print(
    name="magazine", screen=(133, 175), dots=(0.5, 0.9), gloss=(0.01, 0.04), rough=(0.1, 0.5), gamut=(0.85, 1.2)
)
POSTER = Print(  # A3 to A1, on a wall or held
    name="poster", width_mm=(297, 594), height_mm=(420, 841), screen=(0, 0), ink=(0.01, 0.04), gamut=(0.85, 1.2),
    gloss=(0.0, 0.045), rough=(0.05, 0.6), held=0.3, bend=(0, 0.03),
)  # fmt: skip

# Displays: sizes and pitches of common data sheets.
PHONE = Display(layout="pentile")
OLD_PHONE = Display(  # 3.5 to 4 inch LCD, 163 to 326 ppi
    name="old-phone", width_mm=(49, 52), height_mm=(74, 89), pitch_mm=(0.078, 0.156), white=(60, 240),
    black=(0.001, 0.005), bezel=(0.08, 0.2), flicker=(0, 0.05), full=0.9,
)  # fmt: skip
TABLET = Display(  # 9.7 to 10.5 inch, 132 to 264 ppi
    name="tablet", width_mm=(135, 160), height_mm=(196, 215), pitch_mm=(0.096, 0.192), white=(60, 250), picture=(1.7, 5.0),
    black=(0.001, 0.002), bezel=(0.04, 0.15), flicker=(0, 0.05), full=0.8,
)  # fmt: skip
LAPTOP = Display(  # 13.3 to 15.6 inch, 100 to 227 ppi
    name="laptop", width_mm=(179, 215), height_mm=(286, 345), upright=0, pitch_mm=(0.112, 0.252),
    white=(70, 270), picture=(1.7, 6.0),
    black=(0.001, 0.004), roll_off=(0, 0.5), bezel=(0.02, 0.06), gloss=(0.0, 0.045), rough=(0.0, 0.8), full=0.5,
    held=0, flicker=(0, 0.1), tilt=6,
)  # fmt: skip
MONITOR = Display(  # 19 to 27 inch, 86 to 109 ppi
    name="monitor", width_mm=(290, 340), height_mm=(376, 597), upright=0, pitch_mm=(0.233, 0.311),
    white=(65, 240), picture=(1.7, 6.0),
    black=(0.001, 0.002), bezel=(0.02, 0.07), gloss=(0.0, 0.02), rough=(0.3, 1.0), full=0.35, fill=(0.25, 0.8), held=0,
    flicker=(0, 0.1), tilt=6,
)  # fmt: skip
TELEVISION = Display(  # 32 to 55 inch, full HD and 4K
    name="television", width_mm=(398, 685), height_mm=(708, 1218), upright=0, pitch_mm=(0.315, 0.63),
    white=(65, 280), picture=(1.7, 6.0), black=(0.0005, 0.003), bezel=(0.01, 0.04), roll_off=(0, 0.5), full=0.8,
    fill=(0.4, 0.9), held=0, tilt=6,
)  # fmt: skip

# A third of what attackers show are photos with their own background (sources.py); live people need one as often (assumed).
AS_PHOTOGRAPHED = 0.5

DOMAINS = [
    Domain(
        name="office-laptop",
        camera=Camera(electrons=(10, 70), jpeg=(65, 95)),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(100, 700), kelvin=(3500, 5500)),
        instruments=[LASER, CUT, PHONE, MONITOR],
    ),
    Domain(  # an interpolating webcam on an evening at home
        name="home-webcam",
        camera=Camera(
            sensor=(480, 360), electrons=(6, 40), read_noise=(3, 9), skips=0.3, denoise=(0.2, 1.8),
            chroma_denoise=(0.8, 3.0), mosaic=0.8,
            jpeg=(45, 85), awb=(0.6, 1.0), saturation=(0.5, 1.1), contrast=(0.85, 1.3), motion=0.012,
        ),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(25, 250), kelvin=(2600, 4000), backlight=0.3),
        instruments=[INKJET, CUT, PHONE, LAPTOP],
    ),
    Domain(
        name="window-phone",
        camera=Camera(
            sensor=(480, 640), output=(480, 640), focal=(1.0, 1.4), electrons=(20, 120), focus_error=0.25,
            pupil_mm=(1.0, 2.0), sharpen=(0.2, 1.4), contrast=(1.0, 1.5), saturation=(0.85, 1.35), denoise=(0, 1.8),
            mosaic=0.3, jpeg=(75, 96),
        ),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(100, 1500), kelvin=(4500, 7500), side=(0.0, 1.8), backlight=0.35),
        instruments=[LASER, PHOTO, TABLET, LAPTOP],
    ),
    Domain(
        name="old-qvga",
        camera=Camera(
            sensor=(320, 240), output=(320, 240), electrons=(5, 60), codec="h264", qp=(18, 32),
            contrast=(0.85, 1.4), saturation=(0.5, 1.2), bias=(-1.0, 0.7), mosaic=0.3,
        ),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(40, 500), kelvin=(2700, 6500), backlight=0.3),
        instruments=[LASER, PHOTO, OLD_PHONE, TABLET],
    ),
    Domain(
        name="phone-video",
        camera=Camera(
            sensor=(576, 1024), output=(576, 1024), focal=(1.2, 1.5), electrons=(15, 90), focus_error=0.25,
            pupil_mm=(1.0, 2.0), denoise=(0.3, 1.8), sharpen=(0.2, 1.0), mosaic=0.6, codec="h264",
            qp=(18, 30),
        ),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(60, 900), kelvin=(3000, 6500)),
        instruments=[LASER, INKJET, MONITOR, LAPTOP],
    ),
    Domain(
        name="laptop-hd",
        camera=Camera(
            sensor=(1280, 720), output=(1280, 720), electrons=(6, 50), skips=0.5, denoise=(0.3, 1.8),
            codec="h264", qp=(24, 36), saturation=(0.6, 1.2),
        ),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(40, 500), kelvin=(2700, 6500), backlight=0.25),
        instruments=[PHOTO, CUT, PHONE, TABLET],
    ),
    Domain(
        name="lobby",
        camera=Camera(
            focal=(0.6, 0.9), electrons=(10, 80), sharpen=(0.2, 1.3), contrast=(0.95, 1.6), saturation=(0.8, 1.4),
            jpeg=(60, 92),
        ),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(100, 1000), kelvin=(3500, 6500), backlight=0.3),
        instruments=[POSTER, PHOTO, PHONE, TABLET],
    ),
    Domain(  # a good phone, held by hand in good light
        name="selfie",
        camera=Camera(
            sensor=(810, 1080), output=(810, 1080), focal=(1.0, 1.3), skips=0.3, electrons=(40, 200), read_noise=(2, 4),
            focus_error=0.15, pupil_mm=(1.0, 2.0), blur=(0.3, 0.6), flare=(0, 0.03), cast=0.08, awb=(0.6, 1.0),
            denoise=(0.2, 1.2), chroma_denoise=(0.3, 1.0), sharpen=(0.2, 1.2), contrast=(1.0, 1.6), saturation=(0.9, 1.3),
            bias=(-0.3, 0.7), mosaic=0.3, jpeg=(85, 97), motion=0.004,
        ),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(200, 2000), kelvin=(3500, 7000), side=(0.0, 1.4)),
        instruments=[PHOTO, LASER, PHONE, TABLET],
    ),
    Domain(
        name="kiosk",
        camera=Camera(
            sensor=(720, 405), output=(720, 405), electrons=(10, 60), jpeg=(50, 85), contrast=(0.9, 1.5), mosaic=0.2
        ),
        room=Room(as_photographed=AS_PHOTOGRAPHED, lux=(60, 900), kelvin=(3000, 6500)),
        instruments=[MAGAZINE, TELEVISION],
        held_out=True,
    ),
]  # fmt: skip
