# SPDX-License-Identifier: MIT
package Spendgate::JWT;

# RSA keys and JWTs for tests, with the openssl command and Perl's core only.
#
#     my $key = Spendgate::JWT::make_key(kid => 'ins_1', bits => 2048);
#     my $jwk = Spendgate::JWT::jwk($key);
#     my $jwt = Spendgate::JWT::token($key, { sub => ... });            # RS256, kid and typ in the header
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use File::Temp ();
use IPC::Open3 qw(open3);
use JSON::PP ();
use MIME::Base64 qw(decode_base64 encode_base64);

my $json = JSON::PP->new->utf8->canonical;

sub base64url { my ($bytes) = @_; return encode_base64($bytes, '') =~ tr{+/=}{-_}dr }

# What the openssl command prints.
sub openssl {
    my ($input, @arguments) = @_;
    my $pid = open3(my $in, my $out, '>&STDERR', 'openssl', @arguments);
    binmode $_ for $in, $out;
    print {$in} $input;
    close $in;
    my $output = do { local $/; <$out> };
    waitpid $pid, 0;
    die "openssl @arguments: exit $?\n" if $?;
    return $output;
}

# make_key(kid => TEXT, bits => 2048): { kid, file, pem }; the private key lies in a file that goes with it.
sub make_key {
    my (%option) = @_;
    my $file = File::Temp->new;
    my $bits = $option{bits} // 2048;
    print {$file} openssl('', 'genpkey', '-quiet', '-algorithm', 'RSA', '-pkeyopt', "rsa_keygen_bits:$bits");
    close $file;
    return { kid => $option{kid}, file => $file, pem => openssl('', 'pkey', '-in', "$file", '-pubout') };
}

# The public key as a JSON web key, as Clerk shows it; `extra` members win, undef takes one away.
sub jwk {
    my ($key, %extra) = @_;
    my ($hex) = openssl($key->{pem}, 'rsa', '-pubin', '-noout', '-modulus') =~ /=([0-9A-F]+)/;
    my %jwk = (
        use => 'sig', kty => 'RSA', kid => $key->{kid}, alg => 'RS256', n => base64url(pack 'H*', $hex), e => 'AQAB',
        %extra,
    );
    defined $jwk{$_} or delete $jwk{$_} for keys %jwk;
    return \%jwk;
}

# The signature over `bytes` by the way of `alg`: RS256, RS384, RS512 or PS256.
sub sign {
    my ($key, $alg, $bytes) = @_;
    my ($scheme, $size) = $alg =~ /\A([RP])S(256|384|512)\z/ or die "alg $alg\n";
    my @padding = $scheme eq 'P' ? qw(-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest) : ();
    return openssl($bytes, 'dgst', "-sha$size", '-sign', "$key->{file}", @padding);
}

# A token whose header and payload are these bytes, signed as `alg` says.
sub token_of_bytes {
    my ($key, $alg, $header, $payload) = @_;
    my $signed = base64url($header) . '.' . base64url($payload);
    return "$signed." . base64url(sign($key, $alg, $signed));
}

# token(KEY, CLAIMS, HEADER): RS256 unless the header says otherwise; undef members are left out.
sub token {
    my ($key, $claims, $header) = @_;
    my %header = (alg => 'RS256', kid => $key->{kid}, typ => 'JWT', %{ $header // {} });
    my %claims = %$claims;
    for my $object (\%header, \%claims) {
        defined $object->{$_} or delete $object->{$_} for keys %$object;
    }
    return token_of_bytes($key, $header{alg}, $json->encode(\%header), $json->encode(\%claims));
}

sub hmac_token {
    my ($secret, $claims, $header) = @_;
    my $signed = base64url($json->encode({ alg => 'HS256', typ => 'JWT', %$header })) . '.'
      . base64url($json->encode($claims));
    return "$signed." . base64url(hmac_sha256($signed, $secret));
}

1;
