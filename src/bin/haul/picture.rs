//! A picture to send where there is none: made by arithmetic, the same each time.

use std::io;

/// Returns a PNG of some hundred kilobytes: waves of colour under grain.
pub(crate) fn png() -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer.write_image_data(&pixels()).map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)?;
    Ok(file)
}

fn pixels() -> Vec<u8> {
    let mut grain = 0x2545_f491_u32;
    let mut pixels = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            // Xorshift by Marsaglia, with his shifts.
            grain ^= grain << 13;
            grain ^= grain >> 17;
            grain ^= grain << 5;
            let noise = grain % 8;
            let red = wave(x + y / 2) + noise;
            let green = wave(y * 2 + wave(x) / 2) + noise;
            let blue = wave(WIDTH + y - x / 3) + noise;
            pixels.extend([red, green, blue].map(|colour| u8::try_from(colour).unwrap_or(u8::MAX)));
        }
    }
    pixels
}

/// Goes up and down between 0 and 240, every 480 steps.
const fn wave(at: u32) -> u32 {
    let at = at % 480;
    if at < 240 { at } else { 480 - at }
}

const WIDTH: u32 = 480;
const HEIGHT: u32 = 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_is_an_image_of_some_hundred_kilobytes() {
        let file = png().unwrap();
        assert!((100_000..900_000).contains(&file.len()), "{}", file.len());
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (WIDTH, HEIGHT));
        assert_eq!(pixels, super::pixels());
    }
}
