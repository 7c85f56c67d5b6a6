# SPDX-License-Identifier: MIT
package Spendgate::Tracker;

use 5.016;
use strict;
use warnings;

use Carp qw(croak);
use Digest::SHA qw(sha256_hex);
use Fcntl qw(O_WRONLY O_CREAT O_EXCL O_RDONLY);
use HTTP::Tiny;
use IO::Handle;
use JSON::PP;
use POSIX qw(strftime);
use Time::HiRes qw(sleep);

our $VERSION = '0.1.0';

my $ATTEMPTS      = 3;
my $FIRST_PAUSE   = 0.1;        # seconds, doubled each time
my $ANSWER_MAX    = 1_048_576;
my $NANOS         = 1_000_000_000;

# Refusals that a repetition cannot change: the request itself is wrong, or was decided before.
my %FINAL = map { $_ => 1 } 400, 409, 413, 415, 422;

# What must be posted when the program ends, whatever ends it.
my %open_trackers;

sub from_environment {
    my ($class, %options) = @_;
    my $token = $ENV{SPENDGATE_TRACKER_TOKEN} // '';
    if ($token eq '' && ($ENV{SPENDGATE_TRACKER_TOKEN_FILE} // '') ne '') {
        open my $file, '<', $ENV{SPENDGATE_TRACKER_TOKEN_FILE}
            or croak "cannot read $ENV{SPENDGATE_TRACKER_TOKEN_FILE}: $!";
        $token = <$file> // '';
        close $file;
        $token =~ s/[\r\n]+\z//;
    }
    my $self = $class->new(
        url       => $ENV{SPENDGATE_TRACKER_URL},
        token     => $token,
        spool_dir => $ENV{SPENDGATE_SPOOL_DIR},
        timeout   => $ENV{SPENDGATE_TRACKER_TIMEOUT} || 2,
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
    croak 'the tracker URL begins with http:// or https:// (SPENDGATE_TRACKER_URL)'
        unless ($option{url} // '') =~ m{\Ahttps?://};
    croak 'the tracker token is empty or has characters a header cannot hold (SPENDGATE_TRACKER_TOKEN)'
        unless ($option{token} // '') =~ /\A[\x21-\x7e]+\z/;
    (my $url = $option{url}) =~ s{/+\z}{};
    my $self = {
        url         => $url,
        token       => $option{token},
        spool_dir   => $option{spool_dir} // '',
        hold_id     => $option{hold_id} // '',    # settled by the next post
        any_hold_id => $option{hold_id} // '',    # for extend and void
        caller      => {
            map { ($option{$_} // '') ne '' ? ($_ => $option{$_}) : () } qw(subject key_id route)
        },
        posts => [],                              # usages that wait
        cost  => undef,                           # { nanos, details }: sum of spend() that waits
        http  => HTTP::Tiny->new(
            agent        => "spendgate-perl/$VERSION",
            timeout      => $option{timeout} || 2,
            max_redirect => 0,
            max_size     => $ANSWER_MAX,
            # the tracker is a neighbour: a proxy from the environment must not see the token
            proxy       => undef,
            http_proxy  => undef,
            https_proxy => undef,
        ),
        json => JSON::PP->new->utf8->canonical,
    };
    return bless $self, $class;
}

# Signals that end a script when its client hangs up or its server loses patience. A script that
# handles one itself keeps its handler.
sub settle_at_exit {
    my ($self) = @_;
    $open_trackers{ 0 + $self } = $self;
    for my $signal (qw(TERM HUP INT)) {
        next if ref $SIG{$signal} || ($SIG{$signal} // 'DEFAULT') ne 'DEFAULT';
        $SIG{$signal} = sub { exit 1 };
    }
    # a write to a client that has gone must not end the script before END
    $SIG{PIPE} = 'IGNORE' if !ref $SIG{PIPE} && ($SIG{PIPE} // 'DEFAULT') eq 'DEFAULT';
    $self->{pid} = $$;
    return;
}

END {
    # settling talks to the network, which must not change how the script ended
    local ($?, $!, $@) = ($?, $!, $@);
    for my $tracker (values %open_trackers) {
        next if $tracker->{pid} != $$;
        eval { $tracker->settle; 1 } or warn "spendgate: $@";
    }
}

sub spend {
    my ($self, $usd, %details) = @_;
    my $nanos = _nanos($usd);
    $self->{cost}{nanos} = ($self->{cost}{nanos} // 0) + $nanos;
    $self->{cost}{details} = { %{ $self->{cost}{details} // {} }, %details };
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
    return $self->_post_hold('extend', { amount_usd => _usd(_nanos($usd)) }, _new_key());
}

sub void {
    my ($self) = @_;
    my $answer = $self->_post_hold('void', {}, undef);
    $self->{hold_id} = '';
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
    for my $post (@posts) {
        my $answer = eval { $self->_deliver($post) };
        $failure //= $@ if $@;
        push @answers, $answer if $answer;
    }
    die $failure if $failure;
    return @answers;
}

sub _deliver {
    my ($self, $post) = @_;
    my %post = (%{ $self->{caller} }, %{$post});
    my $key;
    if ($self->{hold_id} ne '') {
        $post{hold_id} = $self->{hold_id};    # a hold is itself an idempotency key
        $self->{hold_id} = '';
    }
    else {
        $key = $post{idempotency_key} = _new_key();
    }
    my $json = $self->{json}->encode(\%post);
    my ($status, $body) = $self->_attempt('/v1/spend', $json, $key);
    return $self->_decode($body) if $status == 200;
    die $self->_refusal($status, $body, $json) if $FINAL{$status} || $self->{spool_dir} eq '';
    $self->_spool($json);
    return;
}

sub _post_hold {
    my ($self, $operation, $body, $key) = @_;
    croak 'this request has no hold' if $self->{any_hold_id} eq '';
    my ($status, $answer) = $self->_attempt("/v1/holds/$self->{any_hold_id}/$operation",
        $self->{json}->encode($body), $key);
    die $self->_refusal($status, $answer, '') if $status != 200;
    return $self->_decode($answer);
}

# Status 0: no whole answer came.
sub _attempt {
    my ($self, $path, $json, $key) = @_;
    my ($status, $body) = (0, '');
    for my $attempt (1 .. $ATTEMPTS) {
        sleep($FIRST_PAUSE * 2**($attempt - 2) + rand 0.05) if $attempt > 1;
        my $response = $self->{http}->request(
            'POST',
            $self->{url} . $path,
            {   headers => {
                    'authorization' => "Bearer $self->{token}",
                    'content-type'  => 'application/json',
                    defined $key ? ('idempotency-key' => $key) : (),
                },
                content => $json,
            }
        );
        # 599 is HTTP::Tiny's own: nothing, or only a part, came back
        ($status, $body) = $response->{status} == 599 ? (0, '') : @{$response}{qw(status content)};
        last unless $status == 0 || $status >= 500
            || ($status == 409 && ($self->_decode($body)->{error} // '') eq 'idempotency_in_progress');
    }
    return ($status, $body);
}

sub _refusal {
    my ($self, $status, $body, $json) = @_;
    my $post = $json eq '' ? '' : "; not recorded: $json";
    return "the tracker does not answer$post\n" if $status == 0;
    my $answer = $self->_decode($body);
    return sprintf "the tracker answered %d %s: %s%s\n", $status, $answer->{error} // 'unexpected_answer',
        $answer->{message} // 'no explanation', $post;
}

# One file per post. It gets its final name when all of it is on the disk, so a reader never sees half a
# post and a crash leaves at most a temporary file.
sub _spool {
    my ($self, $json) = @_;
    my $now  = time;
    my $name = sprintf '%s/%d-%s', $self->{spool_dir}, $now, _random_hex(8);
    # The post goes in byte for byte as it was sent: encoding it anew could write a number in another
    # way, and the tracker would take it for another post.
    my $text = sprintf qq({"version":1,"path":"/v1/spend","token_sha256":"%s","spooled_at":"%s","body":%s}\n),
        sha256_hex($self->{token}), strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $now), $json;
    my $written = eval {
        sysopen my $file, "$name.tmp", O_WRONLY | O_CREAT | O_EXCL, 0600 or die "$!\n";
        binmode $file;
        $file->autoflush(1);
        print {$file} $text or die "$!\n";
        $file->sync or die "$!\n";
        close $file or die "$!\n";
        rename "$name.tmp", "$name.json" or die "$!\n";
        if (sysopen my $directory, $self->{spool_dir}, O_RDONLY) {
            IO::Handle->new_from_fd(fileno $directory, 'r')->sync;
        }
        1;
    };
    # the log is the last place where the money is written down
    die "cannot write to the spool directory $self->{spool_dir}: $@; not delivered: $json\n" unless $written;
    return;
}

sub _decode {
    my ($self, $body) = @_;
    my $value = eval { $self->{json}->decode($body) };
    return ref $value eq 'HASH' ? $value : {};
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

=head1 DESCRIPTION

Costs are noted with C<spend> and C<spend_usage> and posted once: by C<settle>, or else when the
program ends, also when it dies or is told to stop because its client has hung up. A post that the
tracker does not acknowledge is repeated with the same idempotency key and then written to the spool
directory, one file each, for C<spendgate spool replay>: it is never lost and never counted twice.

=head1 CONSTRUCTORS

=head2 from_environment

(also C<fromEnvironment>) Reads C<SPENDGATE_TRACKER_URL> (such as C<http://127.0.0.1/track>),
C<SPENDGATE_TRACKER_TOKEN> or C<SPENDGATE_TRACKER_TOKEN_FILE>, C<SPENDGATE_SPOOL_DIR>,
C<SPENDGATE_TRACKER_TIMEOUT> (seconds, 2), and the gate's variables of this request. Settles at exit.

=head2 new(url => ..., token => ..., spool_dir => ..., hold_id => ..., subject => ..., key_id => ...)

The same from arguments. Call C<settle>, or C<settle_at_exit> once.

=head1 METHODS

=head2 spend($usd, %details)

Note a cost in dollars, as decimal text with at most nine decimals. Several are added up. Details:
C<model>, C<tags>, C<metadata>, C<occurred_at>.

=head2 spend_usage($model, \%usage, %details)

(also C<spendUsage>) Note a usage as the vendor reported it; the tracker prices it.

=head2 extend($usd)

Raise the hold by an amount before spending it; C<'0'> only renews its time to live, and a stream
that lasts should do that every third of it. Dies when it does not fit.

=head2 void

Give the hold back: nothing was spent.

=head2 settle

Post what is pending, now. Returns the tracker's answers (decoded JSON), without the spooled ones. Dies
when a post was refused for good, with the post in the message.

=head2 settle_at_exit

Settle when the program ends, and end it through C<exit> on SIGTERM, SIGHUP and SIGINT, so that it does.

=head1 LICENSE

MIT

=cut
