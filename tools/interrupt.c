/*
 * interrupt.c - Ctrl-C and SIGTERM become a flag; see interrupt.h.
 */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t pending_signal;

static void on_signal(int number)
{
    pending_signal = number;
}

void interrupt_install(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {0};

    /* No SA_RESTART: a read that waits for a terminal or a pipe must end. SA_RESETHAND: whoever
     * asks twice does not want to wait for the cleanup. */
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction before;

        /* A signal that is ignored (nohup) stays ignored. */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaction(numbers[i], &action, NULL);
        }
    }
    signal(SIGPIPE, SIG_IGN);
}

bool interrupt_pending(void)
{
    return pending_signal != 0;
}

void interrupt_finish(void)
{
    if (pending_signal != 0) {
        signal(pending_signal, SIG_DFL);
        raise(pending_signal);
    }
}
