/*
 * interrupt.h - Ctrl-C and SIGTERM: a flag that loops ask, and the end of the process by that
 * signal.
 */
#ifndef TOOLS_INTERRUPT_H
#define TOOLS_INTERRUPT_H

#include <stdbool.h>

/** From now on INT, TERM and HUP only raise the flag; a second one kills. PIPE is ignored: a closed
 *  pipe is then an ordinary write error. */
void interrupt_install(void);

/** Whether a signal asked the command to stop. */
bool interrupt_pending(void);

/** After the cleanup: die by the signal that came, so that the shell sees it; if one came. */
void interrupt_finish(void);

#endif
