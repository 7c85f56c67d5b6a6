# SPDX-License-Identifier: MIT
package Spendgate::Tracker;

use 5.016;
use strict;
use warnings;

use B ();
use Carp qw(croak);
use Config;
use Digest::SHA qw(sha256_hex);
use Fcntl qw(O_WRONLY O_CREAT O_EXCL O_RDONLY);
use HTTP::Tiny;
use IO::Handle;
use JSON::PP;
use POSIX qw(strftime);
use Scalar::Util qw(refaddr weaken);
use Time::HiRes qw(sleep time clock_gettime CLOCK_MONOTONIC);
use Time::Local qw(timegm);

our $VERSION = '0.1.0';

my $ATTEMPTS        = 3;
my $FIRST_PAUSE     = 0.1;          # seconds, doubled each time
my $ANSWER_MAX      = 1_048_576;
my $NANOS           = 1_000_000_000;
my $NANOS_MAX       = 1_000_000_000_000_000_000;
my $FIRST_HEARTBEAT = 5;            # seconds into the request: then the tracker is asked how long a hold lives
my $HOLD_TTL_MAX    = 604_800;

# Refusals that no repetition can change: the post itself is wrong, or was decided before.
my %FINAL = map { $_ => 1 } qw(
    invalid_json invalid_cost missing_field invalid_field body_too_large unsupported_media_type hold_already_settled
    hold_voided idempotency_key_reuse usage_inconsistent
);

# What must be posted when the program ends, whatever ends it. Weak: an object that goes earlier settles then.
my %open_trackers;

sub from_environment {
    my ($class, %options) = @_;
    my $token = $ENV{SPENDGATE_TRACKER_TOKEN} // '';
    my $token_file = $ENV{SPENDGATE_TRACKER_TOKEN_FILE} // '';
    if ($token eq '' && $token_file ne '') {
        open my $file, '<', $token_file or croak "cannot read $token_file: $! (SPENDGATE_TRACKER_TOKEN_FILE)";
        $token = <$file> // '';
        close $file;
        $token =~ s/[\r\n]+\z//;
    }
    my $self = $class->new(
        url       => $ENV{SPENDGATE_TRACKER_URL},
        token     => $token,
        spool_dir => $ENV{SPENDGATE_SPOOL_DIR},
        timeout   => _timeout($ENV{SPENDGATE_TRACKER_TIMEOUT}),
        hold_ttl  => _seconds($ENV{SPENDGATE_HOLD_TTL}),
        hold_id   => _request_variable('SPENDGATE_HOLD_ID'),
        subject   => _request_variable('SPENDGATE_SUBJECT'),
        key_id    => _request_variable('SPENDGATE_KEY_ID'),
        route     => _request_variable('SPENDGATE_ROUTE'),
        %options,
    );
    $self->settle_at_exit;
    return $self;
}

{
    no warnings 'once';
    *fromEnvironment = \&from_environment;
    *spendUsage      = \&spend_usage;
}

sub new {
    my ($class, %option) = @_;
    croak 'money needs a Perl with 64-bit integers' if $Config{ivsize} < 8;
    croak 'the tracker URL begins with http:// or https:// (SPENDGATE_TRACKER_URL)'
        unless ($option{url} // '') =~ m{\Ahttps?://[^\s/]};
    croak 'the tracker token is empty or has characters a header cannot hold (SPENDGATE_TRACKER_TOKEN)'
        unless ($option{token} // '') =~ /\A[\x21-\x7e]+\z/;
    my $timeout = $option{timeout} // 2;
    croak 'the timeout is a number of seconds, more than 0 (SPENDGATE_TRACKER_TIMEOUT)'
        unless $timeout =~ /\A[0-9]+(?:\.[0-9]+)?\z/ && $timeout > 0;
    (my $url = $option{url}) =~ s{/+\z}{};
    my $self = {
        url         => $url,
        token       => $option{token},
        spool_dir   => ($option{spool_dir} // '') =~ s{(?<=.)/+\z}{}r,
        hold_id     => $option{hold_id} // '',    # settled by the next post
        any_hold_id => $option{hold_id} // '',    # for extend and void
        hold_ttl    => $option{hold_ttl},         # seconds; undef until it is known
        hold_lives  => ($option{hold_id} // '') ne '' ? 1 : 0,
        pid         => $$,                        # a child that was forked must not settle what its parent will
        caller      => {
            map { ($option{$_} // '') ne '' ? ($_ => $option{$_}) : () } qw(subject key_id route)
        },
        posts => [],                              # usages that wait
        cost  => undef,                           # { nanos, details }: sum of spend() that waits
        http => $option{http} // HTTP::Tiny->new(
            agent        => "spendgate-perl/$VERSION",
            timeout      => $timeout,
            max_redirect => 0,
            max_size     => $ANSWER_MAX,
            # the tracker is a neighbour: a proxy from the environment must not see the token
            proxy       => undef,
            http_proxy  => undef,
            https_proxy => undef,
        ),
        json => JSON::PP->new->utf8->canonical,
    };
    $self->{next_heartbeat} = _monotonic() + (defined $self->{hold_ttl} ? $self->{hold_ttl} / 3 : $FIRST_HEARTBEAT);
    return bless $self, $class;
}

# Signals that end a script when its client hangs up or its server loses patience. A script that
# handles one itself keeps its handler.
sub settle_at_exit {
    my ($self) = @_;
    weaken($open_trackers{ refaddr $self } = $self);
    for my $signal (qw(TERM HUP INT QUIT ALRM XCPU)) {
        next if ref $SIG{$signal} || ($SIG{$signal} || 'DEFAULT') ne 'DEFAULT';
        $SIG{$signal} = sub { exit 1 };
    }
    # a write to a client that has gone must not end the script before END
    $SIG{PIPE} = 'IGNORE' if !ref $SIG{PIPE} && ($SIG{PIPE} || 'DEFAULT') eq 'DEFAULT';
    return;
}

END {
    # settling talks to the network, which must not change how the script ended (`local $? = $?` would make it 0)
    my $status = $?;
    local ($!, $@);
    for my $tracker (grep { defined } values %open_trackers) {
        $tracker->_settle_quietly;
    }
    %open_trackers = ();
    $? = $status;
}

# In a process that serves one request after the other, the object goes before the process ends.
sub DESTROY {
    my ($self) = @_;
    return if !exists $open_trackers{ refaddr $self };
    delete $open_trackers{ refaddr $self };
    local ($?, $!, $@);
    $self->_settle_quietly;
    return;
}

sub spend {
    my ($self, $usd, %details) = @_;
    my $nanos = ($self->{cost} ? $self->{cost}{nanos} : 0) + _nanos($usd);
    croak 'a cost is at most one billion dollars' if $nanos > $NANOS_MAX;
    $self->{cost} = { nanos => $nanos, details => { %{ $self->{cost} ? $self->{cost}{details} : {} }, %details } };
    return;
}

sub spend_usage {
    my ($self, $model, $usage, %details) = @_;
    croak 'a usage is a reference to the vendor\'s usage object' unless ref $usage eq 'HASH';
    push @{ $self->{posts} }, { %details, model => $model, usage => $usage };
    return;
}

sub extend {
    my ($self, $usd) = @_;
    my $hold = $self->_post_hold('extend', { amount_usd => _usd(_nanos($usd)) }, _new_key());
    $self->_learn_ttl($hold);
    return $hold;
}

sub quote {
    my ($self, $model, $usage, %details) = @_;
    my ($status, $body) =
        $self->_attempt('/v1/quote', $self->{json}->encode(_plain({ %details, model => $model, usage => $usage })), undef);
    my $answer = $self->_decode($body);
    die _refusal($status, $answer), "\n" if $status != 200 || !defined $answer->{cost_usd};
    return $answer;
}

sub heartbeat {
    my ($self) = @_;
    return $self->{hold_lives} if $self->{hold_id} eq '' || _monotonic() < $self->{next_heartbeat};
    my ($status, $body) = $self->_post("/v1/holds/$self->{hold_id}/extend", '{"amount_usd":"0"}', undef);
    my $answer = $self->_decode($body);
    if ($status == 200) {
        $self->_learn_ttl($answer);
        return $self->{hold_lives};
    }
    my $pause = ($self->{hold_ttl} // 15) / 9;
    $self->{next_heartbeat} = _monotonic() + ($pause < 5 ? $pause : 5);
    $self->{hold_lives} = 0 if exists $answer->{error} && $status =~ /\A(?:403|404|409|429)\z/;
    return $self->{hold_lives};
}

sub void {
    my ($self) = @_;
    my $answer = $self->_post_hold('void', {}, undef);
    @{$self}{qw(hold_id hold_lives)} = ('', 0);
    return $answer;
}

sub settle {
    my ($self) = @_;
    my @posts = @{ $self->{posts} };
    if (my $cost = $self->{cost}) {
        unshift @posts, { %{ $cost->{details} }, cost_usd => _usd($cost->{nanos}) };
    }
    ($self->{posts}, $self->{cost}) = ([], undef);
    my (@answers, $failure);
    my $reachable = 1;
    for my $post (@posts) {
        # the other posts have to go out whatever becomes of one
        my $answer;
        eval { $answer = $self->_deliver($post, \$reachable); 1 } or $failure //= $@;
        push @answers, $answer if $answer;
    }
    die $failure if defined $failure;
    return @answers;
}

sub _settle_quietly {
    my ($self) = @_;
    return if $self->{pid} != $$;
    eval { $self->settle; 1 } or warn "spendgate: $@";
    return;
}

# The answer, or nothing when the post was spooled. `reachable` is false when an earlier post of this round found
# nobody, so that this one need not wait.
sub _deliver {
    my ($self, $post, $reachable) = @_;
    my %post = (%{ $self->{caller} }, %{$post});
    my $key;
    if ($self->{hold_id} ne '') {
        $post{hold_id} = $self->{hold_id};    # a hold is itself an idempotency key
        @{$self}{qw(hold_id hold_lives)} = ('', 0);
    }
    else {
        $key = $post{idempotency_key} = _new_key();
    }
    my $json = $self->{json}->encode(_plain(\%post));
    my ($status, $body) =
        ${$reachable} || $self->{spool_dir} eq '' ? $self->_attempt('/v1/spend', $json, $key) : (0, '');
    my $answer = $self->_decode($body);
    return $answer if $status == 200 && defined $answer->{charge_id};
    ${$reachable} = 0 if $status == 0 || $status >= 500;
    my $error = $answer->{error} // '';
    my $why   = _refusal($status, $answer);
    if ($FINAL{$error} || $self->{spool_dir} eq '') {
        # a post that was wrong leaves the hold for a better one
        @{$self}{qw(hold_id hold_lives)} = ($post{hold_id}, 1) if defined $post{hold_id} && $status =~ /\A(?:400|422)\z/;
        die "$why; not recorded: $json\n";
    }
    my $file = $self->_spool($json);
    die "$why; the post is kept in $file\n" if $error eq 'unknown_model';
    warn "spendgate: $why; the post is kept in $file\n";
    return;
}

sub _post_hold {
    my ($self, $operation, $body, $key) = @_;
    croak 'this request has no hold' if $self->{any_hold_id} eq '';
    my ($status, $text) =
        $self->_attempt("/v1/holds/$self->{any_hold_id}/$operation", $self->{json}->encode($body), $key);
    my $answer = $self->_decode($text);
    die _refusal($status, $answer), "\n" if $status != 200 || !%{$answer};
    return $answer;
}

sub _attempt {
    my ($self, $path, $json, $key) = @_;
    my ($status, $body) = (0, '');
    for my $attempt (1 .. $ATTEMPTS) {
        sleep($FIRST_PAUSE * 2**($attempt - 2) + rand 0.05) if $attempt > 1;
        ($status, $body) = $self->_post($path, $json, $key);
        my $answer = $self->_decode($body);
        # a 200 that is no JSON comes from somebody else, or was cut off
        last
            unless $status == 0 || $status >= 500
            || ($status == 200 && !%{$answer})
            || ($answer->{error} // '') eq 'idempotency_in_progress';
    }
    return ($status, $body);
}

# One post: (status, body). Status 0: no whole answer came.
sub _post {
    my ($self, $path, $json, $key) = @_;
    my $response = $self->{http}->request(
        'POST',
        $self->{url} . $path,
        {   headers => {
                'authorization' => "Bearer $self->{token}",
                'content-type'  => 'application/json',
                'accept'        => 'application/json',
                defined $key ? ('idempotency-key' => $key) : (),
            },
            content => $json,
        }
    );
    # 599 is HTTP::Tiny's own: nothing, or only a part, came back
    return (0, '') if $response->{status} == 599;
    return @{$response}{qw(status content)};
}

sub _refusal {
    my ($status, $answer) = @_;
    return 'the tracker does not answer' if $status == 0;
    return sprintf 'the tracker answered %d %s: %s', $status, $answer->{error} // 'unexpected_answer',
        $answer->{message} // 'this is no answer of a tracker';
}

sub _learn_ttl {
    my ($self, $hold) = @_;
    if (!defined $self->{hold_ttl}
        && ($hold->{expires_at} // '') =~ /\A(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z\z/)
    {
        my $left = timegm($6, $5, $4, $3, $2 - 1, $1) - time;
        $self->{hold_ttl} = $left < 1 ? 1 : $left > $HOLD_TTL_MAX ? $HOLD_TTL_MAX : $left;
    }
    $self->{hold_lives}     = 1;
    $self->{next_heartbeat} = _monotonic() + ($self->{hold_ttl} // $FIRST_HEARTBEAT) / 3;
    return;
}

# One file per post. It gets its final name when all of it is on the disk, so a reader never sees half a
# post and a crash leaves at most a temporary file. Returns the name.
sub _spool {
    my ($self, $json) = @_;
    my $now  = int time;
    my $name = sprintf '%s/%d-%s', $self->{spool_dir}, $now, _random_hex(8);
    # The post goes in byte for byte as it was sent: encoding it anew could write a number in another
    # way, and the tracker would take it for another post.
    my $text = sprintf qq({"version":1,"path":"/v1/spend","token_sha256":"%s","spooled_at":"%s","body":%s}\n),
        sha256_hex($self->{token}), strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $now), $json;
    my $begun = 0;
    my $written = eval {
        # a full quota sends a signal that would end us before the log has the post
        local $SIG{XFSZ} = 'IGNORE';
        sysopen my $file, "$name.tmp", O_WRONLY | O_CREAT | O_EXCL, 0600 or die "$!\n";
        $begun = 1;
        binmode $file;
        $file->autoflush(1);
        print {$file} $text or die "$!\n";
        $file->sync  or die "$!\n";
        close $file  or die "$!\n";
        rename "$name.tmp", "$name.json" or die "$!\n";
        # so that the new name survives a crash as well
        if (sysopen my $directory, $self->{spool_dir}, O_RDONLY) {
            $directory->sync;
        }
        1;
    };
    return "$name.json" if $written;
    my $why = $@;
    chomp $why;
    unlink "$name.tmp" if $begun;    # half a post is of no use, and the whole is in the message
    die "cannot write to the spool directory $self->{spool_dir}: $why; not delivered: $json\n";
}

sub _decode {
    my ($self, $body) = @_;
    my $value = eval { $self->{json}->decode($body) };
    return ref $value eq 'HASH' ? $value : {};
}

# What JSON can hold: bytes that are no characters are read as Latin-1, numbers that are none become null, and
# references to anything else their text.
sub _plain {
    my ($value) = @_;
    return { map { $_ => _plain($value->{$_}) } keys %{$value} } if ref $value eq 'HASH';
    return [ map { _plain($_) } @{$value} ] if ref $value eq 'ARRAY';
    return $value if JSON::PP::is_bool($value);
    return "$value" if ref $value;
    if (defined $value) {
        my $flags = B::svref_2object(\$value)->FLAGS;
        return undef
            if $flags & (B::SVp_IOK | B::SVp_NOK) && !($flags & B::SVp_POK) && $value !~ /\A-?[0-9]/;
    }
    return $value;
}

# Nano-dollars of a plain decimal. A Perl number is taken by its text, so write '0.1', not 0.1 + 0.2.
sub _nanos {
    my ($usd) = @_;
    my ($whole, $fraction) = ($usd // '') =~ /\A([0-9]+)(?:\.([0-9]{1,9}))?\z/
        or croak 'a cost is decimal text such as "0.0123": digits, one point, at most nine decimals';
    $fraction = substr(($fraction // '') . '0' x 9, 0, 9);
    $whole =~ s/\A0+(?=[0-9])//;
    croak 'a cost is at most one billion dollars'
        if length $whole > 10 || $whole > 1_000_000_000 || ($whole == 1_000_000_000 && $fraction > 0);
    return $whole * $NANOS + $fraction;
}

sub _usd {
    my ($nanos) = @_;
    use integer;
    my $text = sprintf '%d.%09d', $nanos / $NANOS, $nanos % $NANOS;
    $text =~ s/\.?0+\z//;
    return $text;
}

# Seconds of "300", "300s", "5m", "1h"; undef for none.
sub _seconds {
    my ($text) = @_;
    return undef if ($text // '') eq '';
    my %unit = (ms => 0.001, '' => 1, s => 1, m => 60, h => 3600, d => 86_400);
    croak "SPENDGATE_HOLD_TTL is a time such as 5m, and not '$text'"
        unless $text =~ /\A([0-9]{1,9})(ms|s|m|h|d|)\z/ && $1 > 0;
    return $1 * $unit{$2};
}

# Seconds of "2", "1.5", "2s", "500ms"; undef for none.
sub _timeout {
    my ($text) = @_;
    return undef if ($text // '') eq '';
    croak "SPENDGATE_TRACKER_TIMEOUT is a time such as 2 or 500ms, and not '$text'"
        unless $text =~ /\A([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|)\z/;
    return $1 * ($2 eq 'ms' ? 0.001 : 1);
}

sub _monotonic { return clock_gettime(CLOCK_MONOTONIC) }

sub _new_key {
    return 'perl-' . _random_hex(16);
}

sub _random_hex {
    my ($length) = @_;
    open my $random, '<:raw', '/dev/urandom' or croak "cannot open /dev/urandom: $!";
    my $bytes = '';
    read($random, $bytes, $length) == $length or croak 'cannot read /dev/urandom';
    close $random;
    return unpack 'H*', $bytes;
}

# Apache prefixes variables with REDIRECT_ after an internal redirect.
sub _request_variable {
    my ($name) = @_;
    for my $value (@ENV{ $name, "REDIRECT_$name" }) {
        return $value if defined $value && $value ne '';
    }
    return '';
}

1;

__END__

=encoding utf8

=head1 NAME

Spendgate::Tracker - post what a request cost: once, also when the script dies

=head1 SYNOPSIS

    use Spendgate::Tracker;

    my $tracker = Spendgate::Tracker->from_environment;
    $tracker->spend('0.0123');

    # or what a vendor's API reported, priced by the tracker
    $tracker->spend_usage('gpt-4o', $answer->{usage});

    # in the loop of a long stream
    $tracker->heartbeat;

=head1 DESCRIPTION

Costs are noted with C<spend> and C<spend_usage> and posted once: by C<settle>, or else when the object
goes or the program ends, also when it dies or is told to stop because its client has hung up. A post that
the tracker does not acknowledge is repeated with the same idempotency key and then written to the spool
directory, one file each, for C<spendgate spool replay>: it is never lost and never counted twice.

The first post settles the hold that the gate placed for the request; each further one stands alone.

=head1 CONSTRUCTORS

=head2 from_environment

(also C<fromEnvironment>) Reads C<SPENDGATE_TRACKER_URL> (such as C<http://127.0.0.1/track>),
C<SPENDGATE_TRACKER_TOKEN> or C<SPENDGATE_TRACKER_TOKEN_FILE>, C<SPENDGATE_SPOOL_DIR>,
C<SPENDGATE_TRACKER_TIMEOUT> (C<2s>), C<SPENDGATE_HOLD_TTL> (C<hold_ttl> of the settings, such as C<5m>;
asked for when it is not given), and the gate's variables of this request. Settles at exit.

=head2 new(url => ..., token => ..., spool_dir => ..., hold_id => ..., subject => ..., key_id => ...)

The same from arguments. Call C<settle>, or C<settle_at_exit> once.

=head1 METHODS

=head2 spend($usd, %details)

Note a cost in dollars, as decimal text with at most nine decimals. Several are added up. Details:
C<model>, C<tags>, C<metadata>, C<occurred_at>.

=head2 spend_usage($model, \%usage, %details)

(also C<spendUsage>) Note a usage as the vendor reported it; the tracker prices it.

=head2 extend($usd)

Raise the hold by an amount before spending it; C<'0'> only renews its time to live. Returns the hold. Dies when it
does not fit.

=head2 quote($model, \%usage, %details)

What a usage would cost, before it is spent: a hash with C<cost_usd>, to be given to C<extend>, and how it is made up.
Nothing is recorded. Details: C<provider>, C<service_tier>. Dies without a price.

=head2 heartbeat

Keep the hold alive while the work lasts. Call it as often as you like: once in a third of the hold's life it
asks the tracker. Returns false when there is no hold, or the tracker says that it is gone. It never dies.

=head2 void

Give the hold back: nothing was spent.

=head2 settle

Post what is pending, now. Returns the tracker's answers (decoded JSON), without the spooled ones. Dies
when a post was refused for good, with the post in the message.

=head2 settle_at_exit

Settle when the object goes or the program ends, and end it through C<exit> on SIGTERM, SIGHUP, SIGINT, SIGQUIT,
SIGALRM and SIGXCPU, so that it does. SIGPIPE is ignored. A signal that has a handler keeps it.

=head1 DIAGNOSTICS

What cannot be delivered is a warning that names the spool file. What the tracker refuses for good, and what cannot be
spooled either, is in the message itself, whole: the log is the last place where it is written down.

=head1 SEE ALSO

L<spendgate(8)>

=head1 LICENSE

MIT

=cut
