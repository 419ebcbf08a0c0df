/*
 * number.h - decimal text to float, correctly rounded and fast.
 */
#ifndef TOOLS_READERS_NUMBER_H
#define TOOLS_READERS_NUMBER_H

/** Parse as strtof does in the C locale, hexadecimal left out. Returns the end of the number, or
 *  `text` where there is none. */
const char *number_parse(const char *text, float *value);

#endif
