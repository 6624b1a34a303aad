/* Waits for a signal and, if nobody answers it, ends the process.
 *
 * Python code cannot run while a library holds the interpreter's lock, and libraries can hold it for ever: HDF5 does
 * when it reads a global heap of zeros. So the waiting is done here, and so is the last resort: once a signal has come,
 * a thread that needs no lock ends the process, unless Python answers in time (signals.py).
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct countdown {
    unsigned order; /* the first is 1 */
    int signal;
    unsigned seconds;
};

static atomic_uint begun, answered; /* countdowns so far; those up to this one are answered */

static void *end_unless_answered(void *given)
{
    struct countdown countdown = *(struct countdown *)given;

    free(given);
    for (unsigned left = countdown.seconds; left;)
        left = sleep(left);
    if (atomic_load(&answered) < countdown.order)
        _exit(128 + countdown.signal);
    return NULL;
}

static void begin_countdown(int signal, unsigned seconds)
{
    struct countdown *countdown = malloc(sizeof *countdown);
    pthread_t thread;

    if (!countdown)
        return;
    *countdown = (struct countdown){atomic_fetch_add(&begun, 1) + 1, signal, seconds};
    if (pthread_create(&thread, NULL, end_unless_answered, countdown) == 0)
        pthread_detach(thread);
    else
        free(countdown);
}

/* Waits for one of the signals; the calling thread and all others have blocked them. Returns its number, and starts the
 * countdown of so many seconds if it is not zero. Returns minus one if it cannot wait. */
int wait_for_signal(const int *numbers, int n_numbers, int seconds)
{
    sigset_t set;
    int number;

    sigemptyset(&set);
    for (int i = 0; i < n_numbers; i++)
        sigaddset(&set, numbers[i]);
    if (sigwait(&set, &number) != 0)
        return -1;
    if (seconds > 0)
        begin_countdown(number, (unsigned)seconds);
    return number;
}

/* Stops the countdowns so far: Python has taken over. */
void answer(void) { atomic_store(&answered, atomic_load(&begun)); }
